"""Which sequences of one call begin alike, and which of their prefixes are worth sending once.

Sorted, the sequences are the leaves of a trie whose inner nodes are their common prefixes. The wire contract knows one
level: a sequence continues one prefix, or none. So some prefixes are chosen, and every sequence continues the longest
chosen one that it begins with, such that the tokens sent are fewest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["Family", "each_alone", "find_families"]

Tokens = npt.NDArray[np.int32]

SEGMENT_TOKENS = 16
"""What one segment more costs the server, in tokens: fewer than 5 on a CPU, more on a GPU, where attention's kernels
start once a segment. A prefix is considered if it is so much longer than the next shorter one: less isn't worth it."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Distinct sequences that are sent together.

    Attributes:
        prefix: How many tokens they begin with in common and are sent once; 0 for a sequence alone.
        members: The items, positions in the input, of each distinct sequence.
    """

    prefix: int
    members: Sequence[Sequence[int]]


def each_alone(count: int) -> list[Family]:
    """Nothing is shared: each of `count` items is sent by itself."""
    return [Family(prefix=0, members=[[item]]) for item in range(count)]


def find_families(sequences: Sequence[Tokens]) -> list[Family]:
    """Groups sequences such that the tokens to send are fewest; every item is in one family.

    Args:
        sequences: Token ids, each [t] with t >= 1.
    """
    members = _distinct(sequences)
    leaders = [sequences[items[0]] for items in members]
    prefixes = _candidates(_common_with_previous(leaders), [leader.size for leader in leaders])
    _choose(prefixes)
    owners = np.zeros(len(members), dtype=np.intp)
    for number, prefix in enumerate(prefixes):
        if prefix.chosen:  # the longer ones come later, so the longest remains
            owners[prefix.first : prefix.last] = number
    groups: dict[int, list[list[int]]] = {}
    for items, owner in zip(members, owners.tolist(), strict=True):
        groups.setdefault(owner, []).append(items)
    alone = [Family(prefix=0, members=[items]) for items in groups.pop(0, [])]
    return alone + [Family(prefix=prefixes[owner].tokens, members=group) for owner, group in groups.items()]


def _distinct(sequences: Sequence[Tokens]) -> list[list[int]]:
    """The items of each distinct sequence, in an order that makes sequences that begin alike neighbours."""
    items: dict[bytes, list[int]] = {}
    for item, sequence in enumerate(sequences):
        items.setdefault(sequence.tobytes(), []).append(item)
    return [items[content] for content in sorted(items)]


def _common_with_previous(sequences: Sequence[Tokens]) -> npt.NDArray[np.intp]:
    """How many tokens each sequence begins with in common with the one before it [n]; 0 for the first."""
    common = np.zeros(len(sequences), dtype=np.intp)
    for place, (one, other) in enumerate(pairwise(sequences), start=1):
        shorter = min(one.size, other.size)
        differs = one[:shorter] != other[:shorter]
        first = differs.argmax()
        common[place] = first if differs[first] else shorter
    return common


@dataclass(kw_only=True)
class _Prefix:
    """A prefix that could be sent once: an inner node of the trie, or the empty prefix, its root.

    Attributes:
        tokens: How many.
        first: Of the sorted sequences, those from this one ...
        last: ... to before this one begin with it.
        parent: Position of the next shorter one in the list of all.
        above: Tokens of all the shorter ones [levels], the empty one's 0 first.
        overhead: What it costs beside its tokens.
        saved: What longer ones save [levels + 1], by the longest chosen one before them: one of `above`, or this one.
        chosen: Whether it is sent once. The empty one always is, and costs nothing.
        nearest: The level of the longest chosen one, up to itself.
    """

    tokens: int
    first: int
    last: int
    parent: int
    above: npt.NDArray[np.int64]
    overhead: int
    saved: npt.NDArray[np.int64] = field(init=False)
    chosen: bool = True
    nearest: int = 0

    def __post_init__(self) -> None:
        self.saved = np.zeros(self.above.size + 1, dtype=np.int64)


def _candidates(common: npt.NDArray[np.intp], lengths: Sequence[int]) -> list[_Prefix]:
    """The prefixes of two or more of the sorted sequences, each behind those that it begins with; first the empty one.

    Args:
        common: How many tokens each sequence begins with in common with the one before it [n].
        lengths: Tokens of each sequence [n].
    """
    nothing = np.zeros(0, dtype=np.int64)
    found: list[_Prefix] = []
    pending = [_Prefix(tokens=0, first=0, last=len(lengths), parent=0, above=nothing, overhead=0)]
    while pending:
        prefix = pending.pop()
        found.append(prefix)
        if prefix.tokens and prefix.last - prefix.first == 2:  # a pair holds no other; pairs are frequent
            continue
        cuts = np.flatnonzero(common[prefix.first + 1 : prefix.last] < prefix.tokens + SEGMENT_TOKENS)
        edges = np.concatenate(([prefix.first], prefix.first + 1 + cuts, [prefix.last]))
        above = np.append(prefix.above, prefix.tokens)
        for place in np.flatnonzero(np.diff(edges) > 1):
            first, last = int(edges[place]), int(edges[place + 1])
            tokens = int(common[first + 1 : last].min())
            # A sequence that is itself the prefix comes first, and has a segment anyway.
            overhead = 0 if lengths[first] == tokens else SEGMENT_TOKENS
            pending.append(
                _Prefix(tokens=tokens, first=first, last=last, parent=len(found) - 1, above=above, overhead=overhead)
            )
    return found


def _choose(prefixes: Sequence[_Prefix]) -> None:
    """Chooses those that save most: dynamic programming over the trie, exact.

    What choosing a prefix saves falls with the tokens of the longest chosen one before it. So each has a threshold,
    which is found from the longest to the shortest, and applied the other way round.
    """
    thresholds = [0] * len(prefixes)
    for number in range(len(prefixes) - 1, 0, -1):
        prefix = prefixes[number]
        if_not = prefix.saved[:-1]
        continued = (prefix.last - prefix.first) * (prefix.tokens - prefix.above)
        if_chosen = prefix.saved[-1] + continued - prefix.tokens - prefix.overhead
        thresholds[number] = np.count_nonzero(if_chosen > if_not)
        prefixes[prefix.parent].saved += np.maximum(if_chosen, if_not)
    for prefix, threshold in zip(prefixes[1:], thresholds[1:], strict=True):
        before = prefixes[prefix.parent].nearest
        prefix.chosen = before < threshold
        prefix.nearest = prefix.above.size if prefix.chosen else before
