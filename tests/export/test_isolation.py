"""Malformed requests among good ones, through the exported graph, in the tensors that ragged batching builds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rewardserve import _wire
from rewardserve_export.graph import GraphLimits
from rewardserve_export.parity import Rewards, Runner, Tokens
from support.packed import INT32, Request, malformed_requests, random_request, request, same_bits, score

# The limits of the shared export; test_the_kinds_are_for_this_graph compares.
LIMITS = {"vocab_size": 400, "max_length": 512, "max_request_tokens": 600}
MALFORMED = malformed_requests(**LIMITS)


@pytest.fixture(scope="module")
def good() -> list[Request]:
    """With parents, and long enough for two attention blocks."""
    random = np.random.default_rng(0)
    return [
        request(random.integers(0, 400, 20), (7, 0), (5, 1), (8, 2)),
        request(random.integers(0, 400, 300), (300, 0)),
        request(random.integers(0, 400, 9), (1, 0), (2, 1), (6, 0)),
    ]


@pytest.fixture(scope="module")
def alone(run: Runner, good: list[Request], limits: GraphLimits) -> list[tuple[Rewards, Tokens]]:
    answers = [score(run, [each])[0] for each in good]
    assert all(np.isfinite(rewards).all() for rewards, _ in answers)
    for each, (_, marks) in zip(good, answers, strict=True):
        assert np.array_equal(marks, _wire.identified(_wire.fingerprints(*each), limits.identity))
    return answers


def assert_same(answer: tuple[Rewards, Tokens], expected: tuple[Rewards, Tokens]) -> None:
    assert same_bits(answer[0], expected[0])
    assert np.array_equal(answer[1], expected[1])


def assert_refused(answer: tuple[Rewards, Tokens]) -> None:
    assert np.isnan(answer[0]).all()
    assert (answer[1] == -1).all()


def test_the_kinds_are_for_this_graph(limits: GraphLimits) -> None:
    assert GraphLimits(**LIMITS) == dataclasses.replace(limits, identity=0)
    assert len(MALFORMED) >= 18


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_request_hurts_nobody(
    kind: str, run: Runner, good: list[Request], alone: list[tuple[Rewards, Tokens]]
) -> None:
    for place in range(len(good) + 1):
        answers = score(run, [*good[:place], MALFORMED[kind], *good[place:]])
        assert_refused(answers.pop(place))
        for answer, expected in zip(answers, alone, strict=True):
            assert_same(answer, expected)


def test_all_kinds_at_once(run: Runner, good: list[Request], alone: list[tuple[Rewards, Tokens]]) -> None:
    random = np.random.default_rng(1)
    for _ in range(3):
        places = random.permutation(len(MALFORMED) + len(good))
        everything = [*MALFORMED.values(), *good]
        answers = score(run, [everything[place] for place in places])
        for place, answer in zip(places.tolist(), answers, strict=True):
            if place < len(MALFORMED):
                assert_refused(answer)
            else:
                assert_same(answer, alone[place - len(MALFORMED)])


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_requests_among_themselves(kind: str, run: Runner) -> None:
    for count in (1, 3):
        for answer in score(run, [MALFORMED[kind]] * count):
            assert_refused(answer)


def test_largest_requests_are_scored(run: Runner, limits: GraphLimits) -> None:
    """At every limit, not over it."""
    ids = np.full(600, 399)
    for segments in ([(512, 0), (88, 0)], [(300, 0), (212, 1), (88, 2)]):
        largest = request(ids, *segments)
        ((rewards, marks),) = score(run, [largest])
        assert np.isfinite(rewards).all()
        assert np.array_equal(marks, _wire.identified(_wire.fingerprints(*largest), limits.identity))


def test_rewards_do_not_depend_on_the_batch(run: Runner) -> None:
    random = np.random.default_rng(2)
    requests = [random_request(random, vocab_size=400, max_length=512, max_tokens=600) for _ in range(12)]
    alone = [score(run, [each])[0] for each in requests]
    for answer, expected in zip(score(run, requests), alone, strict=True):
        assert_same(answer, expected)


def test_stale_memory_does_not_fail_the_run(run: Runner) -> None:
    """Behind a request with an empty tensor, a stock backend leaves both inputs as the memory was."""
    random = np.random.default_rng(3)
    for _ in range(30):
        requests = [
            (
                random.integers(INT32.min, INT32.max, random.integers(0, 700), dtype=np.int32),
                random.integers(INT32.min, INT32.max, (random.integers(0, 9), 2), dtype=np.int32),
            )
            for _ in range(random.integers(1, 6))
        ]
        for answer in score(run, requests):
            assert_refused(answer)


def test_stale_memory_does_not_reach_the_requests_before_it(
    run: Runner, good: list[Request], alone: list[tuple[Rewards, Tokens]]
) -> None:
    random = np.random.default_rng(4)
    stale = [tuple(random.integers(INT32.min, INT32.max, part.shape, dtype=np.int32) for part in each) for each in good]
    answers = score(run, [*good, MALFORMED["nothing"], *stale])  # type: ignore[list-item]
    for answer, expected in zip(answers[: len(good)], alone, strict=True):
        assert_same(answer, expected)
    for answer in answers[len(good) :]:
        assert_refused(answer)


def test_stale_memory_that_looks_well_formed_shows_in_the_fingerprint(
    run: Runner, good: list[Request], alone: list[tuple[Rewards, Tokens]]
) -> None:
    """No graph can tell it from a request. The client can."""
    stale = (np.roll(good[0][0], 1), good[0][1])
    _, _, (rewards, marks) = score(run, [good[1], MALFORMED["nothing"], stale])
    assert np.isfinite(rewards).all()
    assert (marks != alone[0][1]).all()
