"""Whom the playground answers: its own page, in a browser of its user, and no other page that runs there.

A browser lets any web page send requests to this machine. Two headers that a page can't choose tell them apart:
`Origin` is the page's own, and `Host` is a foreign name where a page had its own name resolve to this machine's address
(DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewardserve_server.gateway._errors import error_response

__all__ = ["OwnPageOnly", "SafeHeaders"]

_HEADERS = {
    # Scripts and styles come from files of ours, nothing from elsewhere, and no other page shows this one in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class OwnPageOnly:
    """Turns away what doesn't come from the playground's own page.

    Args:
        app: What is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        problem = _problem(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await error_response(403, "Forbidden", problem)(scope, receive, send)


def _problem(method: str, headers: Headers) -> str | None:
    host = headers.get("host", "")
    if not _names_no_domain(host):
        return f"the page was asked for as {host!r}. Remedy: open it by an IP address, or as localhost"
    origin = headers.get("origin")
    if origin != f"http://{host}" and (origin is not None or method not in ("GET", "HEAD")):
        return f"the request comes from {origin or 'no page'}. Remedy: use the page at http://{host}"
    return None


def _names_no_domain(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


class SafeHeaders:
    """Tells the browser to run nothing but the playground's own files, whatever a text holds.

    Args:
        app: Whose responses get the headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)
