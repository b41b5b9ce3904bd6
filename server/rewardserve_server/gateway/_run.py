"""A gateway in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from rewardserve import LaunchError

from rewardserve_server.gateway._app import create_app
from rewardserve_server.gateway._options import GatewayOptions
from rewardserve_server.gateway._upstream import Scorer

__all__ = ["run_gateway"]

_BACKLOG = 2048
_SHUTDOWN_GRACE = 5.0


class _Server(uvicorn.Server):
    """Says when it takes calls."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def run_gateway(client: Scorer, options: GatewayOptions, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serves HTTP until SIGINT or SIGTERM; calls under way are finished. To be called from the main thread.

    Triton needn't be there yet: until it is, calls are answered with 503.

    Args:
        client: An AsyncRewardClient, connected or not. It is closed at the end.
        options: Where to listen, whom to let in, and how much.
        on_ready: Called with the gateway's URL once it takes calls.

    Raises:
        LaunchError: The port is in use, or can't be bound.
    """
    with _listen(options) as listener, _ignoring_stop_signals():
        asyncio.run(_serve(client, options, listener, on_ready or (lambda _: None)))


async def _serve(
    client: Scorer, options: GatewayOptions, listener: socket.socket, on_ready: Callable[[str], None]
) -> None:
    config = uvicorn.Config(
        create_app(client, options),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        # No call takes longer than its deadline.
        timeout_graceful_shutdown=int(options.timeout + _SHUTDOWN_GRACE),
    )
    url = "http://{}:{}".format(*listener.getsockname())
    try:
        await _Server(config, lambda: on_ready(url)).serve([listener])
    finally:
        await client.close()


def _listen(options: GatewayOptions) -> socket.socket:
    try:
        return socket.create_server((options.host, options.port), backlog=_BACKLOG)
    except OSError as error:
        raise LaunchError(
            f"{options.host}:{options.port} can't be bound: {error.strerror}. "
            "Remedy: stop what listens there, or choose another port (0 picks a free one)"
        ) from error


@contextlib.contextmanager
def _ignoring_stop_signals() -> Iterator[None]:
    """Uvicorn handles the signals while it serves, and raises them again behind that; the end is then in order."""
    previous = {signum: signal.signal(signum, lambda *_: None) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
