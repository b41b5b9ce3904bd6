"""Sequences of any length, packed into requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from rewardserve import RewardContract
from rewardserve._balance import MIN_REQUEST_TOKENS, REQUESTS_PER_WORKER
from rewardserve._core import packed_requests
from rewardserve._packing import PackedRequest, pack
from rewardserve._wire import fingerprint, problem_with
from support.packed import random_call, sequences_of

Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]


def distinct(lengths: Sequence[int]) -> list[Tokens]:
    """Distinct ids: which token came from where can be seen."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end, dtype=np.int32) for length, end in zip(lengths, ends, strict=True)]


def packed_lengths(lengths: Sequence[int], limit: int, **options: int) -> list[list[int]]:
    return [request.segments[:, 0].tolist() for request in pack(distinct(lengths), limit, **options)]  # type: ignore[arg-type]


def sizes(requests: Sequence[PackedRequest]) -> list[int]:
    return [request.input_ids.size for request in requests]


def check(sequences: Sequence[Tokens], requests: Sequence[PackedRequest], limit: int, **traits: bool) -> None:
    """Every item is there once, as it was given, in requests that a server accepts."""
    items: list[int] = []
    for request in requests:
        problem = problem_with(
            request.input_ids,
            request.segments,
            vocab_size=10**6,
            max_length=max(sequence.size for sequence in sequences),
            max_request_tokens=limit,
            **traits,
        )
        assert problem is None
        held = sequences_of((request.input_ids, request.segments))
        assert request.fingerprints.tolist() == [fingerprint(tokens) for tokens in held]
        for item, end in zip(request.items.tolist(), request.ends.tolist(), strict=True):
            assert np.array_equal(held[end], sequences[item])
        items += request.items.tolist()
    assert sorted(items) == list(range(len(sequences)))


def test_nothing_makes_no_request() -> None:
    for share in (False, True):
        assert list(pack([], 10, share=share)) == []
    assert list(pack([], 10, padded=True)) == []


def test_a_request_holds_its_sequences_one_after_another() -> None:
    (request,) = pack(distinct([3, 2]), 5)
    assert request.input_ids.tolist() == [0, 1, 2, 3, 4]
    assert request.input_ids.dtype == np.int32
    assert request.segments.tolist() == [[3, 0], [2, 0]]
    assert request.segments.dtype == np.int32
    assert request.segments.flags.c_contiguous
    assert request.fingerprints.tolist() == [1 * 1 + 2 * 2 + 3 * 3, 4 * 1 + 5 * 2]
    assert request.fingerprints.dtype == np.int32
    assert request.items.tolist() == request.ends.tolist() == [0, 1]


def test_a_request_holds_a_prefix_once() -> None:
    prompt = np.arange(20, dtype=np.int32)
    sequences = [np.append(prompt, np.int32(ids)) for ids in ([30], [40, 41], [30])]
    (request,) = pack(sequences, 100, share=True)
    assert request.input_ids.tolist() == [*range(20), 30, 40, 41]
    assert request.segments.tolist() == [[20, 0], [1, 1], [2, 2]]
    assert request.items.tolist() == [0, 2, 1]
    assert request.ends.tolist() == [1, 1, 2]
    (request,) = pack([*sequences, prompt, prompt], 100, share=True)
    assert request.segments.tolist() == [[20, 0], [1, 1], [2, 2]], "no other segment for the prompt"
    assert request.items.tolist() == [3, 4, 0, 2, 1]
    assert request.ends.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([10], [[10]]),
        ([9, 1], [[9, 1]]),
        ([9, 2], [[9], [2]]),
        ([1, 10, 1], [[10], [1, 1]]),
        ([5, 5, 5, 5, 1], [[5, 5], [5, 1], [5]]),
        ([6, 6, 6, 3, 3, 3], [[6, 3], [6, 3], [6, 3]]),
        ([1] * 21, [[1] * 7] * 3),
        ([2] * 12, [[2] * 4] * 3),
    ],
    ids=str,
)
def test_as_few_requests_as_do_of_one_size(lengths: list[int], expected: list[list[int]]) -> None:
    assert packed_lengths(lengths, 10) == expected


@pytest.mark.parametrize(
    ("tokens", "limit", "workers", "requests"),
    [
        (2 * MIN_REQUEST_TOKENS - 1, 10**6, 1, 1),
        (2 * MIN_REQUEST_TOKENS - 1, 10**6, 8, 1),
        (2 * MIN_REQUEST_TOKENS, 10**6, 1, 2),
        (6 * MIN_REQUEST_TOKENS, 10**6, 8, 6),
        (11 * MIN_REQUEST_TOKENS, 10**6, 4, 8),
        (100 * MIN_REQUEST_TOKENS, 10**6, 1, REQUESTS_PER_WORKER),
        (1000 * MIN_REQUEST_TOKENS, 10**6, 8, 8 * REQUESTS_PER_WORKER),
        (100 * MIN_REQUEST_TOKENS, 20 * MIN_REQUEST_TOKENS, 4, 16),
        (100 * MIN_REQUEST_TOKENS, 4 * MIN_REQUEST_TOKENS, 4, 28),
    ],
)
def test_work_is_cut_for_all_workers(tokens: int, limit: int, workers: int, requests: int) -> None:
    found = sizes(list(pack(distinct([1] * tokens), limit, workers=workers)))
    assert len(found) == requests
    assert max(found) - min(found) <= 1


@pytest.mark.parametrize("seed", range(10))
def test_requests_differ_by_less_than_a_sequence(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(5.2, 0.8, random.integers(50, 300)), 16, 1024).astype(int).tolist()
    found = sizes(list(pack(distinct(lengths), 10**6, workers=int(random.integers(1, 9)))))
    assert found == sorted(found, reverse=True), "the longest first"
    assert found[0] - found[-1] <= max(lengths)
    assert found[0] < 1.1 * np.mean(found) + 100


def groups(prompts: int, responses: int, prompt: int, response: int) -> list[Tokens]:
    ids = iter(range(10**6))
    return [
        np.array([*begin, *(next(ids) for _ in range(response))], dtype=np.int32)
        for begin in [[next(ids) for _ in range(prompt)] for _ in range(prompts)]
        for _ in range(responses)
    ]


def test_families_stay_together() -> None:
    sequences = groups(prompts=12, responses=8, prompt=100, response=20)
    order = np.random.default_rng(0).permutation(len(sequences))
    sequences = [sequences[place] for place in order]
    for workers in (1, 3, 6):
        requests = list(pack(sequences, 600, workers=workers, share=True))
        check(sequences, requests, 600)
        assert sum(sizes(requests)) == 12 * (100 + 8 * 20), "each prompt was sent once"
        assert set(sizes(requests)) == {520}, "two families in each request"


@pytest.mark.parametrize(
    ("responses", "limit", "parts"),
    [(10, 700, [700, 700]), (9, 700, [700, 600]), (11, 700, [600, 600, 500]), (4, 399, [300] * 4)],
)
def test_a_family_that_is_too_large_is_cut_evenly(responses: int, limit: int, parts: list[int]) -> None:
    sequences = groups(prompts=1, responses=responses, prompt=200, response=100)
    requests = list(pack(sequences, limit, share=True))
    check(sequences, requests, limit)
    assert sizes(requests) == parts


@pytest.mark.parametrize(
    ("prompt", "workers", "parts"),
    [
        (100, 1, [1700]),  # nobody else is there to work on it
        (100, 2, [900, 900]),
        (100, 3, [700, 600, 600]),
        (100, 8, [700, 600, 600]),  # smaller ones would be repetitions mostly
        (300, 2, [1900]),
    ],
)
def test_a_family_is_cut_for_other_workers_where_the_prefix_is_short(
    prompt: int, workers: int, parts: list[int]
) -> None:
    sequences = groups(prompts=1, responses=16, prompt=prompt, response=100)
    requests = list(pack(sequences, 10**4, workers=workers, share=True))
    check(sequences, requests, 10**4)
    assert sizes(requests) == parts


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_any_call_arrives_as_it_was_given(seed: int, share: bool) -> None:
    random = np.random.default_rng(seed)
    sequences = random_call(random)
    limit = max(sequence.size for sequence in sequences) + int(random.integers(0, 400))
    requests = list(pack(sequences, limit, workers=int(random.integers(1, 5)), share=share))
    check(sequences, requests, limit, bidirectional=not share)
    given, sent = sum(sequence.size for sequence in sequences), sum(sizes(requests))
    assert sent <= given if share else sent == given
    assert all(one.input_ids.size >= other.input_ids.size for one, other in pairwise(requests))


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([3, 3, 3], [[3, 3, 3]]),
        ([1, 1, 1, 1, 4], [[4], [1, 1, 1, 1]]),
        ([4, 1, 1, 1], [[4], [1, 1, 1]]),
        ([9], [[9]]),
        ([1] * 10, [[1] * 5] * 2),
    ],
)
def test_padding_counts_where_the_server_pads(lengths: list[int], expected: list[list[int]]) -> None:
    sequences = distinct(lengths)
    requests = list(pack(sequences, 9, padded=True))
    assert [request.segments[:, 0].tolist() for request in requests] == expected
    check(sequences, requests, 9, padded=True)


@pytest.mark.parametrize("seed", range(10))
def test_any_call_to_a_server_that_pads(seed: int) -> None:
    random = np.random.default_rng(seed)
    sequences = random_call(random)
    limit = max(sequence.size for sequence in sequences) + int(random.integers(0, 400))
    check(sequences, list(pack(sequences, limit, workers=3, padded=True)), limit, padded=True)


@pytest.mark.parametrize(
    ("option", "contract", "shared"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"bidirectional": True}, False),
        (True, {"padded": True}, False),
    ],
)
def test_when_prefixes_are_shared(
    make_contract: Callable[..., RewardContract], option: bool, contract: dict[str, bool], shared: bool
) -> None:
    sequences = [*groups(prompts=2, responses=4, prompt=50, response=5)] * 2
    requests = list(packed_requests(sequences, make_contract(**contract), workers=1, share_prefixes=option))
    parents = np.concatenate([request.segments[:, 1] for request in requests])
    assert parents.any() == shared
    assert parents.size == (2 + 8 if shared else 16)
