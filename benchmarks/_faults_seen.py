"""What a caller sees of a fault, and after how long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks._faults_callers import TOLERANCE

if TYPE_CHECKING:
    from rewardserve import RewardClient

__all__ = ["Seen", "Workload"]

_FEW = 8
"""Texts of a call that needn't be long."""

_AFTERWARDS_SECONDS = 30.0
_LONGEST_MESSAGE = 400
_PATH = re.compile(r"(?<![\w.:/])/[\w.+-]+(/[\w.+-]+)+")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one call saw.

    Attributes:
        seconds: Until it was over.
        error: Class of what it raised; None if it gave all rewards.
        message: Of the error, shortened.
        texts: In the call.
        missing: Texts without a reward.
        consistent: Whether each reward, in the result or in `.partial`, is the text's own, and exactly those that
            `.missing` doesn't name are there.
        afterwards: Whether the same client scores again, once the server is well; None until that was tried.
    """

    seconds: float
    error: str | None
    message: str | None
    texts: int
    missing: int
    consistent: bool
    afterwards: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Texts, and the rewards that an undisturbed server gave them.

    Attributes:
        texts: Seconds of work for one server.
        rewards: float32 [n].
    """

    texts: Sequence[str]
    rewards: npt.NDArray[np.float32]

    def long(self, client: RewardClient, timeout: float) -> Seen:
        """All texts in one call."""
        return self.score(client, self.texts, self.rewards, timeout)

    def short(self, client: RewardClient, timeout: float) -> Seen:
        """A call of a few texts."""
        return self.score(client, self.texts[:_FEW], self.rewards[:_FEW], timeout)

    def works(self, client: RewardClient) -> bool:
        """Whether a client scores now."""
        seen = self.short(client, _AFTERWARDS_SECONDS)
        return seen.error is None and seen.consistent

    @staticmethod
    def score(client: RewardClient, texts: Sequence[str], expected: npt.NDArray[np.float32], timeout: float) -> Seen:
        """One call, looked at closely; texts whose reward can't be expected have NaN."""
        return seen(lambda: client.score(texts, timeout=timeout), expected)


def seen(call: Callable[[], Any], expected: npt.NDArray[np.float32]) -> Seen:
    """Makes a call that gives rewards, or nothing, and looks closely at how it ends."""
    from rewardserve import RewardServeError, ServerError

    error: RewardServeError | None = None
    rewards, missing = None, list(range(len(expected)))
    began = time.monotonic()
    try:
        rewards = call()
        missing = []
    except RewardServeError as raised:  # anything else isn't what the documentation promises
        error = raised
        if isinstance(raised, ServerError) and raised.partial is not None:
            rewards, missing = raised.partial, list(raised.missing)
    seconds = time.monotonic() - began
    return Seen(
        seconds=seconds,
        error=None if error is None else type(error).__name__,
        message=None if error is None else _short(str(error)),
        texts=len(expected),
        missing=len(missing),
        consistent=_consistent(rewards, missing, expected),
    )


def _consistent(rewards: Any, missing: list[int], expected: npt.NDArray[np.float32]) -> bool:
    if rewards is None:
        return len(missing) == len(expected)
    if len(rewards) != len(expected):
        return False
    there = np.ones(len(expected), dtype=bool)
    there[missing] = False
    own = bool((np.abs(rewards[there] - expected[there]) <= TOLERANCE).all())
    return own and bool(np.isnan(rewards[~there]).all())


def _short(message: str) -> str:
    message = _PATH.sub("…", " ".join(message.split()))
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"
