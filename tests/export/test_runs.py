"""How the Python backend cuts requests and merges them into runs."""

from __future__ import annotations

import numpy as np
import pytest
from rewardserve_export.repository.python_backend.runs import Piece, cut_request, plan_runs


def cut(*segments: tuple[int, int]) -> list[list[list[int]]]:
    table = np.array(segments, dtype=np.int32)
    ids = np.arange(table[:, 0].sum(), dtype=np.int32)
    pieces = list(cut_request(5, ids, table))
    assert np.array_equal(np.concatenate([piece.input_ids for piece in pieces]), ids)
    assert [piece.first_segment for piece in pieces] == np.cumsum([0, *(len(p.segments) for p in pieces)])[:-1].tolist()
    assert {piece.request for piece in pieces} == {5}
    return [piece.segments.tolist() for piece in pieces]


def test_sequences_are_cut_apart() -> None:
    assert cut((3, 0), (2, 0), (4, 0)) == [[[3, 0]], [[2, 0]], [[4, 0]]]


def test_families_stay_together() -> None:
    assert cut((3, 0), (2, 1), (4, 2), (1, 0), (2, 1)) == [[[3, 0], [2, 1], [4, 2]], [[1, 0], [2, 1]]]


def test_interleaved_families_stay_together() -> None:
    assert cut((3, 0), (2, 0), (4, 2), (1, 2), (5, 0)) == [[[3, 0], [2, 0], [4, 2], [1, 2]], [[5, 0]]]


def pieces_of(*lengths: int) -> list[Piece]:
    return [
        Piece(index, 0, np.zeros(length, dtype=np.int32), np.array([[length, 0]], dtype=np.int32))
        for index, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [((), []), ((9,), [[9]]), ((4, 4, 4), [[4, 4], [4]]), ((12, 3), [[12], [3]]), ((3, 5, 8, 1), [[3, 5], [8], [1]])],
)
def test_runs_hold_at_most_so_many_tokens(lengths: tuple[int, ...], runs: list[list[int]]) -> None:
    planned = plan_runs(pieces_of(*lengths), 8, padded=False)
    assert [[piece.input_ids.size for piece in run] for run in planned] == runs


def test_padded_runs_hold_similar_lengths_and_count_the_padding() -> None:
    planned = [[piece.input_ids.size for piece in run] for run in plan_runs(pieces_of(9, 1, 8, 2, 1), 18, padded=True)]
    assert planned == [[1, 1, 2], [8, 9]]
