"""What makes a request well formed, and the fingerprint of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from rewardserve._wire import (
    FINGERPRINT_MODULUS,
    REQUEST_SEGMENTS,
    REQUEST_TOKENS,
    SEGMENTS,
    fingerprint,
    fingerprints,
    graph_inputs,
    rows_and_longest,
)
from rewardserve._wire import problem_with as wire_problem
from support.packed import random_request, sequences_of

INT32 = np.iinfo(np.int32)


def problem_with(ids: Sequence[int], segments: Sequence[Sequence[int]]) -> str | None:
    return wire_problem(
        np.array(ids, dtype=np.int32),
        np.array(segments, dtype=np.int32).reshape(-1, 2),
        vocab_size=100,
        max_length=6,
        max_request_tokens=12,
    )


@pytest.mark.parametrize(
    ("ids", "segments"),
    [
        ([0], [[1, 0]]),
        ([99] * 6, [[6, 0]]),
        ([5] * 12, [[6, 0], [6, 0]]),
        ([5] * 12, [[1, 0]] * 12),
        ([5] * 6, [[4, 0], [2, 1]]),
        ([5] * 10, [[4, 0], [2, 1], [2, 2], [2, 3]]),
        ([5] * 6, [[1, 0], [1, 0], [2, 1], [2, 3]]),
    ],
    ids=["one token", "longest", "fullest", "shortest", "prefix", "shared prefix", "prefix of another"],
)
def test_well_formed(ids: list[int], segments: list[list[int]]) -> None:
    assert problem_with(ids, segments) is None


@pytest.mark.parametrize(
    ("ids", "segments", "problem"),
    [
        ([], [], "at least one token and one segment, has 0 and 0"),
        ([5], [], "at least one token and one segment, has 1 and 0"),
        ([], [[1, 0]], "at least one token and one segment, has 0 and 1"),
        ([5] * 13, [[6, 0], [6, 0], [1, 0]], "has 13 tokens, the limit is 12"),
        ([5] * 3, [[2, 0]], "add up to 2, but there are 3"),
        ([5] * 3, [[2, 0], [2, 0]], "add up to 4, but there are 3"),
        ([5] * 3, [[3, 0], [0, 0]], "segment 1 has length 0"),
        ([5] * 3, [[4, 0], [-1, 0]], "segment 1 has length -1"),
        ([5] * 3, [[INT32.min, 0]], f"segment 0 has length {INT32.min}"),
        # In int32 these add up to 3.
        ([5] * 3, [[INT32.max, 0], [INT32.max, 0], [5, 0]], f"add up to {2 * INT32.max + 5}"),
        ([5] * 3, [[3, 1]], "segment 0 has parent 1, which points outside"),
        ([5] * 3, [[1, 0], [2, 2]], "segment 1 has parent 2, which points outside"),
        ([5] * 3, [[1, 0], [2, INT32.max]], f"segment 1 has parent {INT32.max}, which points outside"),
        ([5] * 3, [[1, 0], [2, -1]], "segment 1 has parent -1, which points outside"),
        ([5] * 3, [[1, 0], [2, INT32.min]], f"segment 1 has parent {INT32.min}, which points outside"),
        ([5] * 3, [[1, 0], [1, 1], [1, 1]], "segment 2 continues segment 1, which has a parent itself"),
        ([5] * 7, [[7, 0]], "segment 0 ends a sequence of 7 tokens, the limit is 6"),
        ([5] * 8, [[4, 0], [1, 0], [3, 2]], "segment 2 ends a sequence of 7 tokens, the limit is 6"),
        ([5, 100, 5], [[3, 0]], "token 1 is 100, outside the vocabulary of 100"),
        ([5, 5, -1], [[3, 0]], "token 2 is -1, outside the vocabulary of 100"),
        ([INT32.max, 5, 5], [[3, 0]], f"token 0 is {INT32.max}, outside"),
        ([INT32.min, 5, 5], [[3, 0]], f"token 0 is {INT32.min}, outside"),
    ],
)
def test_malformed(ids: list[int], segments: list[list[int]], problem: str) -> None:
    found = problem_with(ids, segments)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("largest", [300, 128_256, INT32.max])
def test_the_fingerprint_is_that_of_plain_python(seed: int, largest: int) -> None:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, largest, size=generator.integers(1, 3000), endpoint=True).astype(np.int32)
    plain = sum((int(token) + 1) * (position + 1) for position, token in enumerate(tokens)) % FINGERPRINT_MODULUS
    assert fingerprint(tokens) == plain


def test_the_fingerprint_of_a_very_long_sequence_doesnt_overflow() -> None:
    length = 200_000
    plain = (INT32.max + 1) * length * (length + 1) // 2
    assert plain > np.iinfo(np.int64).max
    assert fingerprint(np.full(length, INT32.max, dtype=np.int32)) == plain % FINGERPRINT_MODULUS


@pytest.mark.parametrize("seed", range(5))
def test_the_fingerprints_of_a_request_are_those_of_its_sequences(seed: int) -> None:
    random = np.random.default_rng(seed)
    request = random_request(random, vocab_size=int(INT32.max), max_length=3000, max_tokens=10000)
    found = fingerprints(*request)
    assert found.dtype == np.int32
    assert found.tolist() == [fingerprint(tokens) for tokens in sequences_of(request)]


def test_the_fingerprint_sees_a_swap_and_a_shift() -> None:
    values = [fingerprint(np.array(tokens, dtype=np.int32)) for tokens in ([1, 2, 3], [2, 1, 3], [0, 1, 2, 3], [1, 2])]
    assert len(set(values)) == 4


def test_graph_inputs_are_concatenated_and_counted() -> None:
    def request(ids: list[int], segments: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.array(ids, dtype=np.int32), np.array(segments, dtype=np.int32)

    inputs = graph_inputs([request([7, 8, 9], [[2, 0], [1, 1]]), request([4], [[1, 0]])])
    assert {name: value.tolist() for name, value in inputs.items()} == {
        "input_ids": [7, 8, 9, 4],
        SEGMENTS: [2, 0, 1, 1, 1, 0],
        REQUEST_TOKENS: [3, 4],
        REQUEST_SEGMENTS: [4, 6],
    }
    assert all(value.dtype == np.int32 for value in inputs.values())


def test_padding_counts_where_the_graph_pads() -> None:
    ids, segments = np.zeros(7, dtype=np.int32), np.array([[2, 0], [4, 1], [1, 0]], dtype=np.int32)
    limits = {"vocab_size": 9, "max_length": 9}
    assert rows_and_longest(segments) == (3, 6)
    assert wire_problem(ids, segments, max_request_tokens=18, padded=True, **limits) is None
    problem = wire_problem(ids, segments, max_request_tokens=17, padded=True, **limits)
    assert problem is not None
    assert "3 rows of 6 tokens" in problem
