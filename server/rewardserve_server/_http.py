"""An ASGI application in the foreground: what the gateway and the playground are run by."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from rewardserve import LaunchError
from starlette.types import ASGIApp

__all__: list[str] = []

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Binds a port, so that it is taken before anything else is begun.

    Raises:
        LaunchError: The port is in use, or can't be bound.
    """
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise LaunchError(
            f"{host}:{port} can't be bound: {error.strerror}. "
            "Remedy: stop what listens there, or choose another port (0 picks a free one)"
        ) from error


async def serve_app(app: ASGIApp, listener: socket.socket, on_ready: Callable[[str], None], *, grace: float) -> None:
    """Serves HTTP until SIGINT or SIGTERM. To be called in the main thread.

    Args:
        app: What answers.
        listener: From `listen`.
        on_ready: Called with the URL, once requests are taken.
        grace: Seconds that requests under way have at the end.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace),
    )
    url = "http://{}:{}".format(*listener.getsockname())
    with _ignoring_stop_signals():
        await _Server(config, lambda: on_ready(url)).serve([listener])


class _Server(uvicorn.Server):
    """Says when it takes calls."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


@contextlib.contextmanager
def _ignoring_stop_signals() -> Iterator[None]:
    """Uvicorn handles the signals while it serves, and raises them again behind that, where the end is in order."""
    previous = {signum: signal.signal(signum, lambda *_: None) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
