"""Callers that share one client, as rollout workers do, and whether each got what it asked for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks._summary import percentiles

if TYPE_CHECKING:
    from rewardserve import RewardClient

__all__ = ["CALLERS", "TOLERANCE", "Calls", "Verdict", "by_tasks", "by_threads", "verdict"]

CALLERS = 32
TOLERANCE = 1e-5
"""What a reward may owe to its company in a batch: rounding in float32, where rewards have a spread of 1."""

Rewards = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one call gave, and when; rewards, or an error."""

    began: float
    ended: float
    outcome: Rewards | Exception


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the rewards of one call.

    Attributes:
        lost: Texts without a reward.
        wrong: Rewards that aren't the text's own.
        duplicated: Given where they weren't asked for: beside a call's own rewards, or in place of another text's.
        largest_difference: Of a reward from the text's own.
    """

    lost: int
    wrong: int
    duplicated: int
    largest_difference: float


def verdict(rewards: Rewards | None, own: Rewards, everybodys: Rewards) -> Verdict:
    """Compares what a call gave with what it should have given.

    Args:
        rewards: What it gave; None for an error.
        own: Each text's own [n].
        everybodys: Those of all texts, in ascending order.
    """
    if rewards is None:
        rewards = own[:0]
    difference = np.abs(rewards[: len(own)] - own[: len(rewards)])
    wrong = difference > TOLERANCE  # False for NaN
    surplus = max(0, len(rewards) - len(own))
    return Verdict(
        lost=max(0, len(own) - len(rewards)) + int(np.isnan(difference).sum()),
        wrong=int(wrong.sum()),
        duplicated=surplus + int((_neighbours(everybodys, rewards[: len(own)][wrong]) > 0).sum()),
        largest_difference=float(np.nanmax(difference, initial=0.0)),
    )


class Calls:
    """Calls that callers take one after another, and what they gave.

    Args:
        texts: Of each call.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self.texts = texts
        self.answers: dict[int, _Answer] = {}
        self._next = iter(range(len(texts)))
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """The next call's number; None behind the last."""
        with self._lock:
            return next(self._next, None)

    def give(self, number: int, began: float, outcome: Rewards | Exception) -> None:
        """Notes what a call gave."""
        self.answers[number] = _Answer(began=began, ended=time.monotonic(), outcome=outcome)

    def rewards(self) -> list[Rewards]:
        """Of each call.

        Raises:
            Exception: What the first failed call raised.
        """
        outcomes = [self.answers[number].outcome for number in range(len(self.texts))]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes  # type: ignore[return-value]

    def judged(self, expected: Sequence[Rewards]) -> dict[str, Any]:
        """How the answers compare with those of an undisturbed server."""
        own = np.concatenate(expected)
        ordered = np.sort(own)
        outcomes = [self.answers[number].outcome for number in range(len(expected))]
        rewards = [None if isinstance(each, Exception) else each for each in outcomes]
        verdicts = [verdict(got, wanted, ordered) for got, wanted in zip(rewards, expected, strict=True)]
        errors = [repr(each.outcome) for each in self.answers.values() if isinstance(each.outcome, Exception)]
        return {
            "texts": len(own),
            "calls": len(self.texts),
            "lost": sum(each.lost for each in verdicts),
            "wrong": sum(each.wrong for each in verdicts),
            "duplicated": sum(each.duplicated for each in verdicts),
            "calls_that_raised": len(errors),
            "errors": sorted(set(errors)),
            "largest_difference": max(each.largest_difference for each in verdicts),
            **self._times(),
        }

    def _times(self) -> dict[str, Any]:
        answers = self.answers.values()
        ended = sorted([min(answer.began for answer in answers), *(answer.ended for answer in answers)])
        seconds = [answer.ended - answer.began for answer in answers]
        return {
            "seconds": ended[-1] - ended[0],
            "call_seconds": percentiles(seconds),
            "longest_call_seconds": max(seconds),
            "longest_stall_seconds": float(np.diff(ended).max()),
        }


def unnoticed_swaps(expected: Sequence[Rewards]) -> float:
    """Probability that a reward given in place of another text's, chosen at random, is within the tolerance."""
    own = np.sort(np.concatenate(expected))
    return float((_neighbours(own, own) - 1).mean() / (len(own) - 1))


def _neighbours(ordered: Rewards, rewards: Rewards) -> npt.NDArray[np.int64]:
    """How many of some ordered rewards are within the tolerance of each of others."""
    upper = np.searchsorted(ordered, rewards + np.float32(TOLERANCE), side="right")
    lower = np.searchsorted(ordered, rewards - np.float32(TOLERANCE), side="left")
    return (upper - lower).astype(np.int64)


def by_threads(url: str | Sequence[str], calls: Calls) -> None:
    """Makes the calls by threads that share a RewardClient."""
    from rewardserve import RewardClient

    def caller(client: RewardClient) -> None:
        while (number := calls.take()) is not None:
            began = time.monotonic()
            try:
                calls.give(number, began, client.score(calls.texts[number]))
            except Exception as error:  # what this is about
                calls.give(number, began, error)

    with RewardClient(url) as client:
        threads = [threading.Thread(target=caller, args=(client,)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def by_tasks(url: str | Sequence[str], calls: Calls) -> None:
    """Makes the calls by tasks of one event loop that share an AsyncRewardClient."""
    from rewardserve import AsyncRewardClient

    async def caller(client: AsyncRewardClient) -> None:
        while (number := calls.take()) is not None:
            began = time.monotonic()
            try:
                calls.give(number, began, await client.score(calls.texts[number]))
            except Exception as error:
                calls.give(number, began, error)

    async def callers() -> None:
        async with AsyncRewardClient(url) as client:
            await asyncio.gather(*(caller(client) for _ in range(CALLERS)))

    asyncio.run(callers())
