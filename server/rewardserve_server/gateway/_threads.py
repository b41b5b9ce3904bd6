"""Until there is an AsyncRewardClient: the synchronous one, in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rewardserve import RewardClient, RewardContract
from rewardserve._connection import Connection

__all__ = ["ThreadedClient"]


class ThreadedClient:
    """See the module."""

    def __init__(self, url: str, *, model: str = "reward", **options: Any) -> None:
        self.url = url
        self.model = model
        self._options = options
        self._client: RewardClient | None = None

    @property
    def contract(self) -> RewardContract:
        assert self._client is not None
        return self._client.contract

    async def connect(self) -> None:
        self._client = await asyncio.to_thread(RewardClient, self.url, model=self.model, **self._options)

    async def check(self, *, timeout: float) -> None:
        connection = Connection(self.url)
        try:
            await asyncio.to_thread(connection.latest_version, self.model, timeout)
        finally:
            connection.close()

    async def tokenize(self, texts: Sequence[str], *, timeout: float) -> list[npt.NDArray[np.int32]]:
        assert self._client is not None
        return await asyncio.to_thread(self._client.tokenize, texts, timeout=timeout)

    async def score_tokens(self, sequences: Any, *, timeout: float) -> npt.NDArray[np.float32]:
        assert self._client is not None
        return await asyncio.to_thread(self._client.score_tokens, sequences, timeout=timeout)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
