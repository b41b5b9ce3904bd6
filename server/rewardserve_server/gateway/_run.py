"""A gateway in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from rewardserve import AsyncRewardClient, LaunchError, ServerError

from rewardserve_server.gateway._app import create_app
from rewardserve_server.gateway._options import GatewayOptions

__all__ = ["run_gateway"]

_BACKLOG = 2048
_CONNECT_SECONDS = 10.0
_SHUTDOWN_GRACE = 5.0

OnReady = Callable[[str, str | None], None]


class _Server(uvicorn.Server):
    """Says when it takes calls."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def run_gateway(client: AsyncRewardClient, options: GatewayOptions, *, on_ready: OnReady | None = None) -> None:
    """Serves HTTP until SIGINT or SIGTERM; calls under way are finished. To be called from the main thread.

    Triton needn't be there yet: until it is, calls are answered with 503.

    Args:
        client: Scores the texts. It is closed at the end.
        options: Where to listen, whom to let in, and how much.
        on_ready: Called once calls are taken, with the gateway's URL, and why Triton doesn't serve the model yet (None
            if it does).

    Raises:
        LaunchError: The port is in use, or can't be bound.
        ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
    """
    with _listen(options) as listener:
        asyncio.run(_serve(client, options, listener, on_ready or (lambda *_: None)))


async def _serve(
    client: AsyncRewardClient, options: GatewayOptions, listener: socket.socket, on_ready: OnReady
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
        problem = await _try_to_connect(client)
        with _ignoring_stop_signals():
            await _Server(config, lambda: on_ready(url, problem)).serve([listener])
    finally:
        await client.close()


async def _try_to_connect(client: AsyncRewardClient) -> str | None:
    """Why the client isn't connected: what may still come. What can't, is raised."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect()
    except TimeoutError:
        return f"Triton didn't answer within {_CONNECT_SECONDS:g} s"
    except ServerError as error:
        return str(error)
    return None


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
    """Uvicorn handles the signals while it serves, and raises them again behind that, where the end is in order."""
    previous = {signum: signal.signal(signum, lambda *_: None) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
