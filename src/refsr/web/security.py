"""What every request has to keep to: the right host, the same origin, the size; and the headers.

A page of another site must not be able to use this server through the visitor's browser: not by a
form or a script (Origin), and not by a name that it points at this machine (Host; DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import MutableMapping
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
READING = ("GET", "HEAD")
FOREIGN = "This server answers no other site; open its own page instead."
WRONG_HOST = "This server is not called that; open it by the address that `refsr web` printed."


class TooLarge(Exception):
    """More was sent than is taken."""


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(message)
            await send(message)

        headers = Headers(scope=scope)
        refused = refusal(scope["method"], headers)
        if refused is None and int_of(headers.get("content-length")) > self.limits.upload:
            refused = 413, self.limits.words()["upload"]
        if refused is not None:
            await drain(receive, self.limits.upload)
            answer = JSONResponse({"error": refused[1]}, refused[0])
            await answer(scope, receive, with_headers)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limits.upload:
                if message.get("more_body"):
                    await drain(receive, self.limits.upload)
                raise TooLarge
            return message

        await self.app(scope, counted, with_headers)


def add_headers(message: MutableMapping[str, Any]) -> None:
    """Put the security headers on an answer, which may have set some itself."""
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


def refusal(method: str, headers: Headers) -> tuple[int, str] | None:
    """Status and sentence for a request that comes by a wrong name or from a foreign page."""
    host = headers.get("host", "")
    if not known_host(host):
        return 421, WRONG_HOST
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
    if method not in READING and (foreign or site not in ("none", "same-origin")):
        return 403, FOREIGN
    return None


def known_host(host: str) -> bool:
    """Whether a Host header names this machine itself: by address, which no name server can move.

    ``localhost`` and the machine's own name are taken, too.
    """
    name = host.rpartition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def int_of(text: str | None) -> int:
    """The number of a header, 0 where it is none."""
    return int(text) if text and text.isdecimal() else 0


async def drain(receive: Receive, most: int) -> None:
    """Read and forget what still comes, within bounds: a browser reads no answer before that."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
