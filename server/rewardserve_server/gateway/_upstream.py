"""The way to Triton: one client for all calls, connected as soon as its server answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from rewardserve import AsyncRewardClient, ContractError, DeadlineExceededError, ServerError

from rewardserve_server.gateway._metrics import Metrics

__all__ = ["Scored", "Upstream"]

_GRACE = 1.0
"""Seconds behind a call's deadline: the client's own error, which says what it waited for, comes first."""

_HEALTH_TIMEOUT = 5.0
"""Seconds. A server that takes longer to say what it has loaded isn't one to send calls to."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The outcome of one call.

    Attributes:
        rewards: float32 [n]; [n, K] where the model has K labels.
        tokens: Tokens that were scored, over all items.
        labels: The labels' names, or None for a model with one output.
    """

    rewards: npt.NDArray[np.float32]
    tokens: int
    labels: Sequence[str] | None

    def single_rewards(self) -> list[float]:
        """One reward an item.

        Raises:
            ContractError: The model has several labels.
        """
        if self.labels:
            names = ", ".join(self.labels)
            raise ContractError(f"the model answers {names}; here one reward is expected. Remedy: use /classify")
        found: list[float] = self.rewards.tolist()
        return found


class Upstream:
    """Scores what callers send. Calls don't wait for each other: Triton merges what is under way.

    Args:
        client: Connected or not; it stays the caller's, who closes it.
        timeout: Seconds that one call may take.
        metrics: Where texts, tokens and errors are counted.
    """

    def __init__(self, client: AsyncRewardClient, *, timeout: float, metrics: Metrics) -> None:
        self._client = client
        self._timeout = timeout
        self._metrics = metrics
        self._connection: asyncio.Future[None] | None = None

    @property
    def model(self) -> str:
        """The served model's name."""
        return self._client.model

    async def connect(self) -> None:
        """Connects, unless that is done. Calls that come meanwhile share one attempt, and its failure.

        Raises:
            ServerError: The server can't be reached, or doesn't serve the model; the next call tries again.
            ContractError: The model isn't one that rewardserve exported.
        """
        if self._connection is None or (self._connection.done() and self._connection.exception()):
            self._connection = asyncio.ensure_future(self._client.connect())
        await asyncio.shield(self._connection)  # who gives up waiting doesn't end it for the others

    async def check(self) -> None:
        """Asks whether the server is there, with the model loaded.

        Raises:
            ServerError: It isn't.
            ContractError: The model isn't one that rewardserve exported.
        """
        async with self._deadline(_HEALTH_TIMEOUT):
            await self.connect()
            await self._client.ping(timeout=_HEALTH_TIMEOUT)

    async def score(self, texts: Sequence[str], *, route: str) -> Scored:
        """Scores whole texts by the model's reward contract.

        Args:
            texts: May be none.
            route: That they came by, for the metrics.

        Raises:
            InputError: A text can't be scored; nothing was sent.
            ServerError: Rewards are missing.
            ContractError: The model can't be scored with.
        """
        async with self._call():
            sequences = await self._client.tokenize(texts, timeout=self._timeout)
            # Arrays of ids are taken as well; like this the tokens are known without tokenizing twice.
            return await self._score(cast("Sequence[Sequence[int]]", sequences), route)

    async def score_tokens(self, sequences: Sequence[Sequence[int]], *, route: str) -> Scored:
        """Scores token ids as they are; else as `score`."""
        async with self._call():
            return await self._score(sequences, route)

    async def _score(self, sequences: Sequence[Sequence[int]], route: str) -> Scored:
        rewards = await self._client.score_tokens(sequences, timeout=self._timeout)
        tokens = sum(map(len, sequences))
        self._metrics.texts.labels(route).inc(len(sequences))
        self._metrics.tokens.labels(route).inc(tokens)
        return Scored(rewards=rewards, tokens=tokens, labels=self._client.contract.labels)

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        try:
            async with self._deadline(self._timeout):
                await self.connect()
                yield
        except (ServerError, ContractError) as error:
            self._metrics.upstream_errors.labels(type(error).__name__).inc()
            raise

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds + _GRACE):
                yield
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"no answer from Triton within {seconds:g} s. Remedy: raise the gateway's timeout, or add instances"
            ) from error
