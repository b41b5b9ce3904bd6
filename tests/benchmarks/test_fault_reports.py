"""The judgement of `faults`: whatever it must find is found."""

from __future__ import annotations

import numpy as np
import pytest
from rewardserve import RewardIntegrityError, ServerError

from benchmarks._faults_callers import TOLERANCE, Calls, unnoticed_swaps
from benchmarks._faults_seen import seen

EXPECTED = [np.array([0.1, 0.2], dtype=np.float32), np.array([0.3, 0.4], dtype=np.float32)]


def judged(*outcomes: list[float] | Exception) -> tuple[int, int, int, int]:
    calls = Calls([["a", "b"], ["c", "d"]])
    for outcome in outcomes:
        number = calls.take()
        assert number is not None
        calls.give(number, 0.0, outcome if isinstance(outcome, Exception) else np.array(outcome, dtype=np.float32))
    assert calls.take() is None
    result = calls.judged(EXPECTED)
    return result["lost"], result["wrong"], result["duplicated"], result["calls_that_raised"]


def test_what_became_of_rewards() -> None:
    assert judged([0.1, 0.2], [0.3, 0.4]) == (0, 0, 0, 0)
    assert judged([0.1, 0.2 + TOLERANCE / 2], [0.3, 0.4]) == (0, 0, 0, 0)
    assert judged([0.1, 0.2], [0.3]) == (1, 0, 0, 0), "cut short"
    assert judged([0.1, np.nan], ServerError("no")) == (3, 0, 0, 1)
    assert judged([0.1, 0.25], [0.3, 0.4]) == (0, 1, 0, 0), "nobody's reward"
    assert judged([0.2, 0.1], [0.3, 0.4]) == (0, 2, 2, 0), "swapped"
    assert judged([0.3, 0.4], [0.3, 0.4]) == (0, 2, 2, 0), "another call's"
    assert judged([0.1, 0.2, 0.3], [0.3, 0.4]) == (0, 0, 1, 0), "one too many"


def test_rewards_that_are_too_close_to_tell_apart() -> None:
    assert unnoticed_swaps(EXPECTED) == 0
    close = np.array([0.1, 0.1 + TOLERANCE / 2], dtype=np.float32)
    assert unnoticed_swaps([close, EXPECTED[1]]) == pytest.approx(2 / 4 / 3)


def test_partial_and_missing_must_agree() -> None:
    def fail(partial: list[float], missing: list[int]) -> bool:
        error = RewardIntegrityError("no")
        error.partial, error.missing = np.array(partial, dtype=np.float32), missing

        def call() -> None:
            raise error

        return seen(call, EXPECTED[0]).consistent

    assert fail([0.1, np.nan], [1])
    assert not fail([0.1, np.nan], [])
    assert not fail([0.1, 0.2], [1])
    assert not fail([0.2, np.nan], [1])
    assert not fail([0.1], [1])
    assert seen(lambda: EXPECTED[0], EXPECTED[0]).consistent
    assert not seen(lambda: EXPECTED[0][::-1], EXPECTED[0]).consistent
