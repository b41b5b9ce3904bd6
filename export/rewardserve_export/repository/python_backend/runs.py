"""Cutting and merging packed requests into runs of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .wire import rows_and_longest

__all__ = ["Piece", "cut_request", "plan_runs"]


@dataclass(frozen=True)
class Piece:
    """The smallest part of a request that can be run by itself: sequences and what continues them.

    Attributes:
        request: Position of the request in the list that Triton handed over.
        first_segment: Of the request, where the piece begins.
        input_ids: int32 [T].
        segments: (length, parent), int32 [N, 2].
    """

    request: int
    first_segment: int
    input_ids: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]


def cut_request(request: int, input_ids: npt.NDArray[np.int32], segments: npt.NDArray[np.int32]) -> Iterator[Piece]:
    """Cuts a well-formed request before every segment that no later one reaches behind.

    Args:
        request: Its position.
        input_ids: int32 [T].
        segments: (length, parent), int32 [N, 2].
    """
    index = np.arange(len(segments))
    # From the end: the earliest segment that this one or a later one continues.
    reach = np.minimum.accumulate((index - segments[:, 1])[::-1])[::-1]
    starts = np.flatnonzero(reach == index)
    tokens = np.concatenate([[0], np.cumsum(segments[:, 0])])
    for start, end in zip(starts, [*starts[1:], len(segments)], strict=True):
        yield Piece(request, int(start), input_ids[tokens[start] : tokens[end]], segments[start:end])


def plan_runs(pieces: Sequence[Piece], tokens: int, *, padded: bool) -> Iterator[list[Piece]]:
    """Merges pieces into runs of at most so many tokens; a piece alone always is one.

    Args:
        pieces: Of all requests.
        tokens: Of one run, with its padding.
        padded: Whether the graph pads its sequences to the longest of a run: then those of similar length go together.
    """
    if padded:
        pieces = sorted(pieces, key=lambda piece: rows_and_longest(piece.segments)[1])
    run: list[Piece] = []
    size = rows = longest = 0
    for piece in pieces:
        more, length = rows_and_longest(piece.segments)
        rows, longest = rows + more, max(longest, length)
        size = rows * longest if padded else size + piece.input_ids.size
        if run and size > tokens:
            yield run
            run, rows, longest = [], more, length
            size = rows * longest if padded else piece.input_ids.size
        run.append(piece)
    if run:
        yield run
