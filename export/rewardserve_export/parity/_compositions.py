"""Ways to compose the same sequences into batches of packed requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rewardserve._packing import PackedRequest, pack
from rewardserve._prefixes import Family, find_families

from rewardserve_export.parity._scorers import Composition, Tokens

__all__ = ["each_its_own_request", "one_batch", "prefixes_shared", "shuffled"]


def one_batch(max_request_tokens: int, *, padded: bool = False) -> Composition:
    """Packed as a client does that shares nothing, all in one batch."""
    return lambda sequences: [list(pack(sequences, max_request_tokens, padded=padded))]


def each_its_own_request(sequences: Sequence[Tokens]) -> list[list[PackedRequest]]:
    """One request a sequence, all in one batch: what many threads with one text each make."""
    return [[PackedRequest.of(sequences, [index]) for index in range(len(sequences))]]


def shuffled(seed: int, max_request_tokens: int, *, padded: bool = False) -> Composition:
    """Random order, cut into random requests, and those into random batches."""

    def compose(sequences: Sequence[Tokens]) -> list[list[PackedRequest]]:
        random = np.random.default_rng(seed)
        requests: list[list[int]] = [[]]
        for index in random.permutation(len(sequences)).tolist():
            sizes = [sequences[member].size for member in [*requests[-1], index]]
            full = (len(sizes) * max(sizes) if padded else sum(sizes)) > max_request_tokens
            if requests[-1] and (full or random.random() < 0.5):
                requests.append([])
            requests[-1].append(index)
        batches: list[list[PackedRequest]] = [[]]
        for items in requests:
            if batches[-1] and random.random() < 0.3:
                batches.append([])
            batches[-1].append(PackedRequest.of(sequences, items))
        return batches

    return compose


def prefixes_shared(max_request_tokens: int, *, padded: bool = False) -> Composition:
    """One batch, in which common prefixes are sent once, also where the graph pads and a client wouldn't."""

    def compose(sequences: Sequence[Tokens]) -> list[list[PackedRequest]]:
        if not padded:
            return [list(pack(sequences, max_request_tokens, share=True))]
        parts = [part for family in find_families(sequences) for part in _rows(family, sequences, max_request_tokens)]
        return [[PackedRequest.of_families(sequences, [part]) for part in parts]]

    return compose


def _rows(family: Family, sequences: Sequence[Tokens], max_request_tokens: int) -> Iterator[Family]:
    """Parts of a family that fit a request with their padding, a row for the prefix included."""
    members: list[Sequence[int]] = []
    for items in sorted(family.members, key=lambda items: sequences[items[0]].size):
        if members and (len(members) + 2) * sequences[items[0]].size > max_request_tokens:
            yield _part(family, members)
            members = []
        members.append(items)
    yield _part(family, members)


def _part(family: Family, members: Sequence[Sequence[int]]) -> Family:
    return Family(prefix=family.prefix if len(members) > 1 else 0, members=members)
