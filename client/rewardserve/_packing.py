"""Sequences of any length, packed into requests: without padding, and what they begin with in common only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rewardserve._balance import balanced, balanced_rows
from rewardserve._prefixes import Family, each_alone, find_families
from rewardserve._wire import fingerprints

__all__ = ["PackedRequest", "pack"]


@dataclass(frozen=True, kw_only=True)
class PackedRequest:
    """One request of the wire contract, and whose rewards it brings.

    Attributes:
        input_ids: int32 [T].
        segments: int32 [N, 2], (length, parent).
        fingerprints: int32 [N], of the tokens alone: without the identity that the server's graph adds.
        items: Positions, in the input, of the sequences whose rewards it brings [M].
        ends: The segment that each of them ends with [M]. Equal sequences end with the same one; with a prefix that
            was nobody's sequence, none does.
    """

    input_ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    fingerprints: npt.NDArray[np.int32]
    items: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]

    @classmethod
    def of(cls, sequences: Sequence[npt.NDArray[np.int32]], items: Sequence[int]) -> PackedRequest:
        """Packs some of the sequences, each as one segment of its own."""
        return cls.of_families(sequences, [Family(prefix=0, members=[[item]]) for item in items])

    @classmethod
    def of_families(cls, sequences: Sequence[npt.NDArray[np.int32]], families: Sequence[Family]) -> PackedRequest:
        """Packs some families of the sequences, each prefix as a segment that the family's others continue."""
        tokens: list[npt.NDArray[np.int32]] = []
        parents: list[int] = []
        items: list[int] = []
        ends: list[int] = []
        for family in families:
            root = len(tokens)
            if family.prefix:
                tokens.append(sequences[family.members[0][0]][: family.prefix])
                parents.append(0)
            for twins in family.members:
                own = sequences[twins[0]][family.prefix :]
                end = len(tokens) if own.size else root
                if own.size:
                    tokens.append(own)
                    parents.append(end - root)
                items.extend(twins)
                ends.extend([end] * len(twins))
        input_ids = np.concatenate(tokens)
        segments = np.array([[part.size for part in tokens], parents], dtype=np.int32).T.copy()
        return cls(
            input_ids=input_ids,
            segments=segments,
            fingerprints=fingerprints(input_ids, segments),
            items=np.array(items, dtype=np.intp),
            ends=np.array(ends, dtype=np.intp),
        )


def pack(
    sequences: Sequence[npt.NDArray[np.int32]],
    max_request_tokens: int,
    *,
    workers: int = 1,
    share: bool = False,
    padded: bool = False,
) -> Iterator[PackedRequest]:
    """Packs the sequences of one call into requests of about equal size, the largest first.

    Args:
        sequences: Token ids, each [t] with 1 <= t <= max_request_tokens.
        max_request_tokens: Tokens of one request.
        workers: Requests that the server computes at a time.
        share: Whether common prefixes and equal sequences are sent once; not for models whose tokens see later ones.
        padded: Whether the server's graph pads the sequences of a request to the longest, so that the padding counts,
            and nothing is gained by sharing.
    """
    lengths = [sequence.size for sequence in sequences]
    if padded:
        for items in balanced_rows(lengths, max_request_tokens, workers):
            yield PackedRequest.of(sequences, items)
        return
    found = find_families(sequences) if share and len(sequences) > 1 else each_alone(len(sequences))
    for group in balanced(found, lengths, max_request_tokens, workers):
        yield PackedRequest.of_families(sequences, group)
