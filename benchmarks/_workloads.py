"""What is sent to the servers: the workloads W1, W2 and W3, and the latency measurement.

All are token ids, so that every server computes over the same tokens. The lengths are the same in every run. The ids
differ from run to run, and no two sequences (in W3: no two groups) of one `TokenSource` begin with the same token, so a
cache that outlives a request never helps; sharing inside a request stays possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks._setup import BenchmarkError

__all__ = [
    "STANDARD",
    "Lengths",
    "Request",
    "TokenSource",
    "Workload",
    "distinct_tokens",
    "latency",
    "uniform",
    "w1",
    "w2",
    "w3",
]

Request = Sequence[list[int]]

_RESERVED = 32
"""Ids below are special tokens (padding among them) in the vocabularies used here, and never sent."""
_SIGMA, _GROUPS, _RESPONSES = 0.8, 4, 16
# RandomState's streams never change between numpy's versions. Of its seeds, these are the first with the token counts
# that the project's figures for other servers were measured with: 27,366, and 39,040 of which 8,320 distinct.
_LENGTHS_SEED, _RESPONSES_SEED = 1194, 599


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How much W1, W2 and W3 hold, in tokens.

    Attributes:
        sequences: How many, in W1 and W2.
        median: Of their lengths.
        shortest: Of them.
        longest: Of them.
        prompt: Of W3.
        response: Shortest and longest of W3.
    """

    sequences: int
    median: int
    shortest: int
    longest: int
    prompt: int
    response: tuple[int, int]

    def shrunk(self, divisor: int) -> Lengths:
        """Fewer sequences, and shorter ones."""
        numbers = (self.sequences, self.median, self.shortest, self.longest, self.prompt)
        sequences, median, shortest, longest, prompt = (number // divisor for number in numbers)
        return Lengths(
            sequences=sequences,
            median=median,
            shortest=shortest,
            longest=longest,
            prompt=prompt,
            response=(self.response[0] // divisor, self.response[1] // divisor),
        )


STANDARD = Lengths(sequences=128, median=180, shortest=16, longest=1024, prompt=512, response=(64, 128))
"""What servers are measured with."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests, and how many clients send them.

    Attributes:
        name: Of the workload.
        clients: Threads; each sends its next request when it has its last one's answer.
        requests: The token ids of the sequences of each request.
    """

    name: str
    clients: int
    requests: tuple[Request, ...]

    @property
    def sequences(self) -> int:
        """Sequences of all requests."""
        return sum(map(len, self.requests))

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(sequence) for request in self.requests for sequence in request)

    @property
    def distinct_tokens(self) -> int:
        """Tokens left when those that begin several sequences of one request are computed once."""
        return sum(map(distinct_tokens, self.requests))

    @property
    def padded_tokens(self) -> int:
        """Tokens computed when each request is padded to its longest sequence."""
        return sum(len(request) * max(map(len, request)) for request in self.requests)


class TokenSource:
    """Random token ids; every sequence begins with one that no other sequence of this source begins with.

    Args:
        vocab_size: Of the model.
        seed: Another seed, other tokens.
    """

    def __init__(self, vocab_size: int, seed: int) -> None:
        self._vocab_size = vocab_size
        self._random = np.random.default_rng(seed)
        self._first = iter(self._random.permutation(np.arange(_RESERVED, vocab_size)).tolist())

    def sequence(self, length: int) -> list[int]:
        """The ids of a new sequence.

        Raises:
            BenchmarkError: No first token is left.
        """
        first = next(self._first, None)
        if first is None:
            raise BenchmarkError(f"{self._vocab_size} token ids are too few. Remedy: fewer runs, or another model")
        return [first, *self.continuation(length - 1)]

    def continuation(self, length: int) -> list[int]:
        """Ids that follow others."""
        ids: list[int] = self._random.integers(_RESERVED, self._vocab_size, length).tolist()
        return ids


def w1(tokens: TokenSource, lengths: Lengths = STANDARD) -> Workload:
    """Sequences of log-normal length, one a request, 16 clients."""
    return Workload(name="W1", clients=16, requests=tuple([tokens.sequence(length)] for length in _drawn(lengths)))


def w2(tokens: TokenSource, lengths: Lengths = STANDARD) -> Workload:
    """The same lengths, 32 a request, 4 clients."""
    sequences = [tokens.sequence(length) for length in _drawn(lengths)]
    return Workload(name="W2", clients=4, requests=tuple(sequences[i : i + 32] for i in range(0, len(sequences), 32)))


def w3(tokens: TokenSource, lengths: Lengths = STANDARD) -> Workload:
    """Groups of 16 responses to a prompt (of 512 tokens), one group a request, 4 clients."""
    low, high = lengths.response
    responses = np.random.RandomState(_RESPONSES_SEED).randint(low, high + 1, (_GROUPS, _RESPONSES)).tolist()
    requests = []
    for group in responses:
        prompt = tokens.sequence(lengths.prompt)
        requests.append([prompt + tokens.continuation(length) for length in group])
    return Workload(name="W3", clients=4, requests=tuple(requests))


def latency(tokens: TokenSource) -> Workload:
    """One text of 128 tokens, again and again, one client."""
    return Workload(name="latency", clients=1, requests=tuple([tokens.sequence(128)] for _ in range(20)))


def uniform(tokens: TokenSource, *, sequences: int, length: int, clients: int) -> Workload:
    """Sequences of one length, one a request."""
    return Workload(
        name=f"{length}x{sequences}",
        clients=clients,
        requests=tuple([tokens.sequence(length)] for _ in range(sequences)),
    )


def distinct_tokens(request: Request) -> int:
    """Tokens of a request when no common beginning is counted twice."""
    ordered = sorted(request)
    return sum(
        len(sequence) - _common(before, sequence) for before, sequence in zip([[], *ordered], ordered, strict=False)
    )


def _common(one: list[int], other: list[int]) -> int:
    """Tokens that both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _drawn(lengths: Lengths) -> list[int]:
    drawn = np.random.RandomState(_LENGTHS_SEED).lognormal(np.log(lengths.median), _SIGMA, lengths.sequences)
    rounded: list[int] = np.rint(np.clip(drawn, lengths.shortest, lengths.longest)).astype(int).tolist()
    return rounded
