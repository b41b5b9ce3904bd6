"""Whom the gateway lets in, and how much: middlewares that decide before a body is read."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewardserve_server.gateway._errors import error_response

__all__ = ["BodyLimit", "ConcurrencyLimit", "TokenGuard"]

_OPEN_PATH = "/health"
"""Load balancers and orchestrators ask it without a token. It tells no more than whether the model is served."""


class TokenGuard:
    """Turns away who doesn't send the token.

    As `Authorization: Bearer TOKEN`, or as the password of `Basic`: OpenRLHF and verl send no header of their user's
    choice, but HTTP libraries make one of `http://user:TOKEN@host/…`.

    Args:
        app: What is guarded.
        token: What callers must send.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or scope["path"] == _OPEN_PATH or self._is_sent(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        response = error_response(
            401,
            "Unauthorized",
            "the token is missing or wrong. Remedy: send `Authorization: Bearer TOKEN`, or http://user:TOKEN@host:port",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await response(scope, receive, send)

    def _is_sent(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        sent = credentials.strip().encode("latin-1")  # as HTTP headers are read
        if scheme.lower() == "basic":
            try:
                sent = base64.b64decode(sent, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(sent, self._token)


class BodyLimit:
    """Stops reading a body that is too large, whether its size is announced or not.

    Args:
        app: What reads the bodies; it turns HTTPException into an answer.
        max_bytes: Size of the largest body.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        size = int(announced) if announced.isdecimal() else 0
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if max(size, received) > self._max_bytes:
                raise HTTPException(
                    413, f"the body is larger than {self._max_bytes} bytes. Remedy: send fewer texts at once"
                )
            return message

        await self._app(scope, limited, send)


class ConcurrencyLimit:
    """Turns calls away while too many are under way, before they fill the memory.

    Args:
        app: What serves the calls.
        max_concurrent: Calls under way at a time. GET requests don't count, and are always served.
    """

    def __init__(self, app: ASGIApp, *, max_concurrent: int) -> None:
        self._app = app
        self._max_concurrent = max_concurrent
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._max_concurrent:
            message = f"{self._under_way} calls are under way. Remedy: try again, or start another gateway"
            await error_response(503, "TooManyCalls", message)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
