"""Packed requests, well formed and not, and what must become of them."""

from __future__ import annotations

import numpy as np
from rewardserve import _wire
from rewardserve_export.parity import Rewards, Runner, Tokens

Request = tuple[Tokens, Tokens]
"""`input_ids` [T] and `segments` [N, 2]."""

INT32 = np.iinfo(np.int32)


def request(ids: object, *segments: tuple[int, int]) -> Request:
    return np.array(ids, dtype=np.int32), np.array(segments, dtype=np.int32).reshape(-1, 2)


def random_request(random: np.random.Generator, *, vocab_size: int, max_length: int, max_tokens: int) -> Request:
    """A well-formed request: some segments start a sequence, the others continue one of those before them."""
    segments: list[tuple[int, int]] = []
    roots: list[int] = []
    left = max_tokens
    for index in range(random.integers(1, 8)):
        parent = random.choice(roots) if roots and random.random() < 0.5 else index
        longest = min(left, max_length - (segments[parent][0] if parent != index else 0))
        if longest < 1:
            break
        length = int(
            random.integers(1, longest + 1) if random.random() < 0.3 else random.integers(1, min(longest, 9) + 1)
        )
        if parent == index:
            roots.append(index)
        segments.append((length, int(index - parent)))
        left -= length
    return request(random.integers(0, vocab_size, sum(length for length, _ in segments)), *segments)


def malformed_requests(*, vocab_size: int, max_length: int, max_request_tokens: int) -> dict[str, Request]:
    """One of each kind. The limits must be such that two sequences of more than half the length fit a request."""
    half = max_length // 2 + 1
    assert 2 * half <= max_request_tokens

    def ids(count: int, last: int = 1) -> list[int]:
        return [*(index % vocab_size for index in range(count - 1)), last]

    return {
        "lengths short": request(ids(10), (4, 0), (5, 0)),
        "lengths long": request(ids(10), (4, 0), (7, 0)),
        "length into the neighbour": request(ids(10), (10, 0), (20, 0)),
        "length zero": request(ids(10), (10, 0), (0, 0)),
        "length zero first": request(ids(10), (0, 0), (10, 0)),
        "length zero with parent": request(ids(10), (10, 0), (0, 1)),
        "length negative": request(ids(10), (15, 0), (-5, 0)),
        "length overflows": request(ids(10), (INT32.max, 0), (INT32.max, 0), (12, 0)),
        "length of int32 minimum": request(ids(10), (INT32.min, 0), (INT32.min, 0), (10, 0)),
        "parent just outside": request(ids(10), (10, 1)),
        "parent far outside": request(ids(10), (5, 0), (5, 100)),
        "parent of int32 maximum": request(ids(10), (5, 0), (5, INT32.max)),
        "parent negative": request(ids(10), (5, -1), (5, 0)),
        "parent of int32 minimum": request(ids(10), (5, 0), (5, INT32.min)),
        "parents of each other": request(ids(10), (5, -1), (5, 1)),
        "parent nested": request(ids(10), (4, 0), (3, 1), (3, 1)),
        "id of vocabulary size": request(ids(10, vocab_size), (10, 0)),
        "id negative": request(ids(10, -1), (10, 0)),
        "id of int32 maximum": request(ids(10, INT32.max), (4, 0), (6, 1)),
        "id of int32 minimum": request(ids(10, INT32.min), (4, 0), (6, 0)),
        "tokens without segments": request(ids(10)),
        "segments without tokens": request([], (10, 0)),
        "nothing": request([]),
        "too many tokens": request(ids(max_request_tokens + 1), (half, 0), (max_request_tokens + 1 - half, 0)),
        "sequence too long": request(ids(max_length + 1), (max_length + 1, 0)),
        "sequence too long with its prefix": request(ids(max_length + 1), (half, 0), (max_length + 1 - half, 1)),
    }


def sequences_of(of: Request) -> list[Tokens]:
    """The tokens of each segment of a well-formed request, its prefix included."""
    ids, segments = of
    ends = np.cumsum(segments[:, 0])
    own = [ids[end - length : end] for end, length in zip(ends, segments[:, 0], strict=True)]
    return [
        np.concatenate([own[index - parent], own[index]]) if parent else own[index]
        for index, parent in enumerate(segments[:, 1])
    ]


def score(run: Runner, requests: list[Request]) -> list[tuple[Rewards, Tokens]]:
    """Runs one batch as a stock backend does, and cuts the answers apart as it does."""
    rewards, fingerprints = run(_wire.graph_inputs(requests))
    counts = [len(segments) for _, segments in requests]
    assert rewards.shape == fingerprints.shape == (sum(counts),)
    assert rewards.dtype == np.float32
    assert fingerprints.dtype == np.int32
    ends = np.cumsum(counts)[:-1]
    return list(zip(np.split(rewards, ends), np.split(fingerprints, ends), strict=True))


def same_bits(one: Rewards, other: Rewards) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one.view(np.int32), other.view(np.int32)))


def random_call(random: np.random.Generator, *, max_length: int = 120) -> list[Tokens]:
    """Sequences as trainers send them, in any order: groups behind a header, prefixes of others, twins, strangers."""

    def tokens(longest: int) -> Tokens:
        vocabulary = random.choice([2, 400])  # of two ids: alike by chance, too
        return random.integers(0, vocabulary, random.integers(1, longest + 1), dtype=np.int32)

    calls = [tokens(max_length) for _ in range(random.integers(1, 20))]
    header = tokens(max_length // 4)
    for _ in range(random.integers(0, 6)):
        prompt = np.concatenate([header, tokens(max_length // 2)]) if random.random() < 0.7 else tokens(max_length // 2)
        group = [np.concatenate([prompt, tokens(max_length - prompt.size)]) for _ in range(random.integers(1, 17))]
        calls += group + [prompt] * int(random.integers(0, 3)) + group[: random.integers(0, 3)]
        calls += [group[0][: random.integers(1, group[0].size + 1)]]
    return [calls[place].copy() for place in random.permutation(len(calls))]
