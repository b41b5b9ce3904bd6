"""What one run of the graph adds to the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["totals_of"]


def totals_of(
    segments: npt.NDArray[np.int32], rewards: npt.NDArray[np.float32], *, padded: bool
) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """Sums over one run.

    Args:
        segments: Of all its requests, well formed: (length, parent), int32 [N, 2], or the same numbers in one row.
        rewards: float32 [N], or [N, K] with K labels, of which the first counts.
        padded: Whether the graph pads, and computes a prefix anew for each segment that continues it.

    Returns:
        The sums by their name, and the finite rewards [n].
    """
    lengths, parents = segments.reshape(-1, 2).astype(np.int64).T
    roots = np.arange(lengths.size) - parents
    continues = parents > 0
    totals = lengths + np.where(continues, lengths[roots], 0)
    # A segment that others continue is a prompt, about which nobody asked. If somebody did, about the beginning of
    # another sequence, that can't be told from here.
    ends = np.ones(lengths.size, dtype=bool)
    ends[roots[continues]] = False
    sequences = totals[ends]
    values = rewards.reshape(lengths.size, -1)[ends, 0].astype(np.float64)
    finite = values[np.isfinite(values)]
    return {
        "sequences": sequences.size,
        "nan_rewards": values.size - finite.size,
        "rewards": finite.size,
        "reward_positive": finite[finite > 0].sum(),
        "reward_negative": -finite[finite < 0].sum(),
        "reward_squares": np.square(finite).sum(),
        **_tokens(lengths, totals, sequences, padded),
    }, finite


def _tokens(
    lengths: npt.NDArray[Any], totals: npt.NDArray[Any], sequences: npt.NDArray[Any], padded: bool
) -> dict[str, float]:
    if padded:
        return {"tokens": totals.sum(), "padding_tokens_avoided": 0, "prefix_tokens_saved": 0}
    return {
        "tokens": lengths.sum(),
        "padding_tokens_avoided": sequences.size * sequences.max() - sequences.sum(),
        "prefix_tokens_saved": sequences.sum() - lengths.sum(),
    }
