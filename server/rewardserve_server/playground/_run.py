"""A playground in the foreground."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rewardserve import RewardClient

from rewardserve_server._http import listen, serve_app
from rewardserve_server.playground._app import create_app
from rewardserve_server.playground._model import ServedModel

__all__ = ["run_playground"]

_SHUTDOWN_GRACE = 2.0


def run_playground(
    connect: Callable[[], RewardClient],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    pairs: Path | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves the page until SIGINT or SIGTERM. To be called from the main thread.

    Args:
        connect: Makes a client of the model to look at; called when the page first needs it. The server need not be
            there yet: the page shows why.
        host: Address to bind to. The page has no password: who reaches it may use the model.
        port: Port, 0 to 65535; 0 picks a free one.
        pairs: Preference data that the page offers to evaluate.
        on_ready: Called with the page's URL.

    Raises:
        LaunchError: The port is in use, or can't be bound.
    """
    served = ServedModel(connect)
    with listen(host, port) as listener:
        try:
            asyncio.run(serve_app(create_app(served, pairs), listener, on_ready, grace=_SHUTDOWN_GRACE))
        finally:
            served.close()
