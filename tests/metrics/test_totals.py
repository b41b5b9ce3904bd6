"""Sums over a run that the served model of the other tests doesn't make: padded inside the graph, several labels."""

from __future__ import annotations

import numpy as np
from rewardserve_export.repository.python_backend.totals import totals_of

SEGMENTS = np.array([[8, 0], [3, 1], [5, 2], [4, 0]], dtype=np.int32)


def test_a_graph_that_pads_saves_nothing() -> None:
    sums, _ = totals_of(SEGMENTS.reshape(-1), np.ones(4, dtype=np.float32), padded=True)
    assert sums["sequences"] == 3
    assert sums["tokens"] == 8 + 11 + 13 + 4  # the prompt again for each that continues it
    assert sums["padding_tokens_avoided"] == sums["prefix_tokens_saved"] == 0


def test_the_first_of_several_labels_counts() -> None:
    rewards = np.array([[9, 9], [1, np.nan], [-2, 9], [np.inf, 9]], dtype=np.float32)
    sums, finite = totals_of(SEGMENTS, rewards, padded=False)
    assert finite.tolist() == [1, -2]
    assert (sums["nan_rewards"], sums["rewards"]) == (1, 2)
    assert (sums["reward_positive"], sums["reward_negative"], sums["reward_squares"]) == (1, 2, 5)
    assert (sums["tokens"], sums["padding_tokens_avoided"], sums["prefix_tokens_saved"]) == (20, 3 * 13 - 28, 8)
