"""The checks of every request (host, origin, size) and the security headers of every answer.

A page of another site must not use this server through the visitor's browser: neither by a form or
script (checked by Origin), nor by a host name that resolves to this machine (DNS rebinding; checked
by Host).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refsr.web.limits import Limits

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-cache",
}
UPLOAD_PATIENCE = 30.0  # seconds that a body may take, and what its size takes at UPLOAD_PACE
UPLOAD_PACE = 20_000  # bytes per second; a slow phone has ten times as many
DRAIN_SECONDS = 30.0  # for the rest of a body that nobody needs
SAFE_METHODS = ("GET", "HEAD")
CROSS_ORIGIN = "Requests from other sites are not allowed; open this server's own page."
WRONG_HOST = "This is not an address of this server; open the one that `refsr web` printed."


class BodyTooLarge(Exception):
    """The body of a request is larger than allowed."""


class UploadTooSlow(Exception):
    """The body of a request comes more slowly than UPLOAD_PACE."""


class SecurityMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with a message."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(message)
            await send(message)

        refused = self.refusal(scope["method"], Headers(scope=scope))
        if refused is not None:
            await drain(receive, self.limits.upload)
            answer = JSONResponse({"error": refused[1]}, refused[0])
            await answer(scope, receive, with_headers)
            return
        received, started, whole = 0, time.monotonic(), False

        async def counted() -> Message:
            """Receive, and refuse a body that is too large or too slow."""
            nonlocal received, whole
            left = None
            if not whole:  # later calls wait for the client to leave
                allowed = UPLOAD_PATIENCE + received / UPLOAD_PACE
                left = max(0.0, started + allowed - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), left)
            except TimeoutError as error:
                raise UploadTooSlow from error
            whole = not message.get("more_body")
            received += len(message.get("body", b""))
            if received > self.limits.upload:
                if message.get("more_body"):
                    await drain(receive, self.limits.upload)
                raise BodyTooLarge
            return message

        await self.app(scope, counted, with_headers)

    def refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Status and message for a wrong host, a cross-origin request or a body too large."""
        host = headers.get("host", "")
        if not is_own_host(host):
            return 421, WRONG_HOST
        site = headers.get("sec-fetch-site", "none")
        origin = headers.get("origin")
        other = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if method not in SAFE_METHODS and (other or site not in ("none", "same-origin")):
            return 403, CROSS_ORIGIN
        length = headers.get("content-length")
        if length and length.isdecimal() and int(length) > self.limits.upload:
            return 413, self.limits.messages()["upload"]
        return None


def add_headers(message: MutableMapping[str, Any]) -> None:
    """Add the security headers that an answer does not set itself."""
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


def is_own_host(host: str) -> bool:
    """Whether a Host header is an IP address, ``localhost`` or this machine's own name.

    No name server can point these elsewhere.
    """
    name = host.rpartition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def drain(receive: Receive, max_bytes: int) -> None:
    """Read and discard the rest of a body: browsers read no answer before they have sent it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while max_bytes > 0:
                message = await receive()
                max_bytes -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
