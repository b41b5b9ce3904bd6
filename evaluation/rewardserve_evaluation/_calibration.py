"""Calibration: whether a margin means the probability that the Bradley-Terry model says it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rewardserve_evaluation._accuracy import ScoredPreference, wilson_interval

__all__ = ["Calibration", "CalibrationBin", "calibrate", "equal_bins", "pair_margins"]

_BINS = 10
_PAIRS_PER_BIN = 20
"""With fewer, a bin's accuracy is mostly noise, and the calibration error is noise that was summed."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Pairs whose rewards differ by about as much.

    Attributes:
        pairs: How many.
        margin: Mean of their absolute margins.
        predicted: Mean of sigmoid(|margin|): how often the answer with the higher reward should be the chosen one.
        accuracy: How often it is; a tie counts half.
        low: Lower end of the accuracy's 95% interval.
        high: Upper end of it.
    """

    pairs: int
    margin: float
    predicted: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well margins tell probabilities.

    Attributes:
        pairs: Pairs of a chosen and a rejected answer.
        error: Expected calibration error, in [0, 1].
        log_loss: Mean of -log sigmoid(margin), the loss that reward models are trained with; 0.693 says nothing.
        bins: By growing margin.
    """

    pairs: int
    error: float
    log_loss: float
    bins: tuple[CalibrationBin, ...]


def pair_margins(scored: Sequence[ScoredPreference]) -> npt.NDArray[np.float64]:
    """Chosen less rejected reward of every pair, float64 [pairs]; a row with c and r answers gives c x r pairs."""
    return np.concatenate([np.subtract.outer(row.chosen, row.rejected).ravel() for row in scored])


def calibrate(margins: npt.NDArray[np.float64]) -> Calibration:
    """The calibration of margins.

    The Bradley-Terry model (1952), by which reward models are trained, says that the answer with the higher reward is
    the better one with probability sigmoid(|margin|). Pairs are put into up to ten bins of equal size by |margin|
    (equal margins never apart, at least 20 pairs a bin), and

        error = sum over bins of (pairs in the bin / pairs) |accuracy - mean sigmoid(|margin|)|

    is the expected calibration error (Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599), in the form with
    bins of equal size (Nixon et al. 2019, arXiv:1904.01685): bins of equal width would leave all pairs of a
    model with large rewards in one. A tie counts half here, since sigmoid(0) = 1/2 is then exactly right. The error
    of few pairs is biased upwards.

    Args:
        margins: Chosen less rejected reward, float [pairs].

    Raises:
        ValueError: There is no margin.
    """
    if not margins.size:
        raise ValueError("no margin to calibrate")
    sizes = np.abs(margins)
    wins = (margins > 0) + 0.5 * (margins == 0)
    predicted = _sigmoid(sizes)
    bins = []
    for inside in equal_bins(sizes):
        pairs = int(inside.sum())
        low, high = wilson_interval(float(wins[inside].sum()), pairs)
        bins.append(
            CalibrationBin(
                pairs=pairs,
                margin=float(sizes[inside].mean()),
                predicted=float(predicted[inside].mean()),
                accuracy=float(wins[inside].mean()),
                low=low,
                high=high,
            )
        )
    return Calibration(
        pairs=sizes.size,
        error=sum(part.pairs * abs(part.accuracy - part.predicted) for part in bins) / sizes.size,
        log_loss=float(np.logaddexp(0.0, -margins).mean()),
        bins=tuple(bins),
    )


def equal_bins(values: npt.NDArray[np.float64]) -> list[npt.NDArray[np.bool_]]:
    """Up to ten bins of about equally many values, at least 20 in each, by growing value; equal values never apart.

    Args:
        values: float [pairs].

    Returns:
        bool [pairs] for each bin: what is inside.
    """
    count = max(1, min(_BINS, values.size // _PAIRS_PER_BIN))
    edges = np.quantile(values, np.arange(1, count) / count)
    places = np.searchsorted(edges, values, side="left")
    return [places == place for place in np.unique(places)]


def _sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of values that are not negative: nothing overflows."""
    result: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-values))
    return result
