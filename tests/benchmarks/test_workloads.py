from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks._setup import BenchmarkError
from benchmarks._workloads import TokenSource, Workload, distinct_tokens, latency, uniform, w1, w2, w3

VOCABULARY = 32_000


def tokens(seed: int = 0, vocabulary: int = VOCABULARY) -> TokenSource:
    return TokenSource(vocabulary, seed)


@pytest.mark.parametrize(
    ("make", "requests", "clients", "sequences", "total", "distinct"),
    [
        (w1, 128, 16, 128, 27_366, 27_366),
        (w2, 4, 4, 128, 27_366, 27_366),
        (w3, 4, 4, 64, 39_040, 8_320),
        (latency, 20, 1, 20, 2_560, 2_560),
    ],
)
def test_counts(
    make: Callable[[TokenSource], Workload], requests: int, clients: int, sequences: int, total: int, distinct: int
) -> None:
    workload = make(tokens())
    assert len(workload.requests) == requests
    assert workload.clients == clients
    assert workload.sequences == sequences
    assert workload.tokens == total
    assert workload.distinct_tokens == distinct


def test_lengths_are_clipped_and_the_same_in_every_run() -> None:
    lengths = [[len(sequence) for request in w1(tokens(seed)).requests for sequence in request] for seed in (0, 1)]
    assert lengths[0] == lengths[1]
    assert (min(lengths[0]), max(lengths[0])) == (16, 1024)


def test_w3_has_one_prompt_a_request() -> None:
    for request in w3(tokens()).requests:
        assert len(request) == 16
        assert len({tuple(sequence[:512]) for sequence in request}) == 1
        assert all(64 <= len(sequence) - 512 <= 128 for sequence in request)


def test_sequences_of_a_run_begin_with_different_tokens() -> None:
    source = tokens()
    workloads = [w1(source), w2(source), latency(source)]
    first = [sequence[0] for workload in workloads for request in workload.requests for sequence in request]
    first += [request[0][0] for request in w3(source).requests]
    assert len(set(first)) == len(first)


def test_a_seed_makes_the_same_tokens_and_another_makes_others() -> None:
    assert w1(tokens(3)).requests == w1(tokens(3)).requests
    assert w1(tokens(3)).requests != w1(tokens(4)).requests


def test_no_special_token_and_none_outside_the_vocabulary() -> None:
    ids = {token for request in w3(tokens(vocabulary=100)).requests for sequence in request for token in sequence}
    assert min(ids) >= 32
    assert max(ids) < 100


def test_running_out_of_first_tokens_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="100 token ids are too few"):
        w1(tokens(vocabulary=100))


def test_padding_is_counted_by_request() -> None:
    workload = Workload(name="three", clients=1, requests=([[1, 2], [3, 4, 5]], [[6]]))
    assert workload.tokens == 6
    assert workload.padded_tokens == 7


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4]], 4),
        ([[1, 2, 3], [4, 5], [1, 2, 4]], 6),
        ([[1, 2], [1, 2]], 2),
        ([[1, 2], [1, 2, 3]], 3),
        ([[1], [2]], 2),
    ],
)
def test_distinct_tokens(request_: list[list[int]], expected: int) -> None:
    assert distinct_tokens(request_) == expected


def test_uniform_lengths() -> None:
    workload = uniform(tokens(), sequences=3, length=5, clients=2)
    assert [[len(sequence) for sequence in request] for request in workload.requests] == [[5], [5], [5]]
