"""An HTTP connection: its request's headers must come in time, and there are not too many of them.

The body's pace is checked by ``refsr.web.security``.
"""

from __future__ import annotations

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0  # from the first byte, or from the connection, to the end of the headers
MOST_CONNECTIONS = 256  # browsers open six each; a process may have 1,024 open files


class Connection(H11Protocol):
    """uvicorn's connection with these two limits."""

    waiting_since = 0.0  # for a request, ``time.monotonic``
    timer: asyncio.TimerHandle | None = None  # runs while headers are awaited

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; the one that has waited longest for a request is closed if full."""
        super().connection_made(transport)
        self.waiting_since = time.monotonic()
        others = [one for one in self.connections if isinstance(one, Connection)]
        if len(others) > MOST_CONNECTIONS:
            idle = [one for one in others if one.awaits_request() and one is not self]
            min(idle, key=lambda one: one.waiting_since, default=self).transport.close()
        self.watch()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self.awaits_request() and self.timer is None:
            self.waiting_since = time.monotonic()
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.stop_timer()
        super().connection_lost(exc)

    def awaits_request(self) -> bool:
        """Whether the headers of a request have not come, or not wholly."""
        return self.conn.their_state is h11.IDLE

    def watch(self) -> None:
        """Run the timer while headers are awaited."""
        if not self.awaits_request():
            self.stop_timer()
        elif self.timer is None:
            self.timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def stop_timer(self) -> None:
        """Stop the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
