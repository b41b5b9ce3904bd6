"""The clients of trainers that load a function and pass it none: one a process, as the environment says."""

from __future__ import annotations

import os
import threading
from typing import Any, TypeVar

from rewardserve._async_client import AsyncRewardClient
from rewardserve._client import RewardClient

__all__ = ["shared_client"]

Client = TypeVar("Client", RewardClient, AsyncRewardClient)

_clients: dict[tuple[Any, ...], Any] = {}
_lock = threading.Lock()


def shared_client(kind: type[Client], url: str | None = None, model: str | None = None) -> Client:
    """The process's client of a kind, for a server and a model; made at the first call.

    Args:
        kind: RewardClient or AsyncRewardClient.
        url: `host:port`; several replicas behind commas. None takes REWARDSERVE_URL, or localhost:8001.
        model: Its name. None takes REWARDSERVE_MODEL, or reward.

    Raises:
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported.
    """
    url = url or os.environ.get("REWARDSERVE_URL", "localhost:8001")
    model = model or os.environ.get("REWARDSERVE_MODEL", "reward")
    key = (os.getpid(), kind, url, model)  # a client doesn't survive a fork
    with _lock:  # threads that come first at the same time would make one each
        if key not in _clients:
            _clients[key] = kind(url.split(","), model=model)
        client: Client = _clients[key]
    return client
