"""The client of trainers that load a function and pass it no client: one a process, as the environment says."""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from rewardserve._client import RewardClient

__all__ = ["client_of_environment"]

_lock = threading.Lock()


def client_of_environment(url: str | None = None, model: str | None = None) -> RewardClient:
    """The process's client for a server and a model, made at the first call.

    Args:
        url: `host:port`; several replicas behind commas. None takes REWARDSERVE_URL, or localhost:8001.
        model: Its name. None takes REWARDSERVE_MODEL, or reward.

    Raises:
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported.
    """
    url = url or os.environ.get("REWARDSERVE_URL", "localhost:8001")
    model = model or os.environ.get("REWARDSERVE_MODEL", "reward")
    with _lock:  # threads that come first at the same time would make one each
        return _client(os.getpid(), url, model)


@lru_cache
def _client(process: int, url: str, model: str) -> RewardClient:
    """A client doesn't survive a fork, so that each process has its own."""
    return RewardClient(url.split(","), model=model)
