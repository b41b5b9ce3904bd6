"""A gateway in the foreground."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from rewardserve import AsyncRewardClient, ServerError

from rewardserve_server._http import listen, serve_app
from rewardserve_server.gateway._app import create_app
from rewardserve_server.gateway._options import GatewayOptions

__all__ = ["run_gateway"]

_CONNECT_SECONDS = 10.0
_SHUTDOWN_GRACE = 5.0

OnReady = Callable[[str, str | None], None]


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
    with listen(options.host, options.port) as listener:
        asyncio.run(_serve(client, options, listener, on_ready or (lambda *_: None)))


async def _serve(
    client: AsyncRewardClient, options: GatewayOptions, listener: socket.socket, on_ready: OnReady
) -> None:
    # No call takes longer than its deadline.
    grace = options.timeout + _SHUTDOWN_GRACE
    try:
        problem = await _try_to_connect(client)
        await serve_app(create_app(client, options), listener, lambda url: on_ready(url, problem), grace=grace)
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
