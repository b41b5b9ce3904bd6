"""Length bias: whether a model's rewards follow the length of an answer rather than its worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rewardserve_evaluation._accuracy import wilson_interval

__all__ = ["LengthBias", "Share", "measure_length_bias"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of some pairs, with its 95% interval.

    Attributes:
        count: Of how many pairs.
        hits: How many of them.
    """

    count: int
    hits: int

    @property
    def value(self) -> float:
        """Their share; NaN of no pairs."""
        return self.hits / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's; of no pairs all of [0, 1]."""
        return wilson_interval(self.hits, self.count) if self.count else (0.0, 1.0)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Of a table's row: pairs, share, interval."""
        if not self.count:
            return "0", "", ""
        low, high = self.interval
        return f"{self.count:,}", f"{self.value:.1%}", f"{low:.1%} to {high:.1%}"


@dataclass(frozen=True, kw_only=True)
class LengthBias:
    """What a reward has to do with length. Lengths of a pair that are equal say nothing here, and are left out.

    Attributes:
        chosen_longer: Accuracy on the pairs whose chosen answer is the longer one.
        chosen_shorter: Accuracy on those whose chosen answer is the shorter one.
        length_alone: How often the longer answer is the chosen one: the accuracy of length as a predictor.
        prefers_longer: How often the model gives the longer answer the higher reward.
        correlation: Spearman's, of reward and length, over all answers; NaN where one of them never varies.
    """

    chosen_longer: Share
    chosen_shorter: Share
    length_alone: Share
    prefers_longer: Share
    correlation: float

    @property
    def gap(self) -> float:
        """Accuracy where the chosen answer is longer, less that where it is shorter; NaN if either has no pairs."""
        return self.chosen_longer.value - self.chosen_shorter.value

    @property
    def gap_interval(self) -> tuple[float, float]:
        """The gap's 95% interval, from the two of Wilson (Newcombe 1998, Stat. Med. 17, 873, method 10)."""
        (low, high), (other_low, other_high) = self.chosen_longer.interval, self.chosen_shorter.interval
        value, other = self.chosen_longer.value, self.chosen_shorter.value
        below = math.hypot(value - low, other_high - other)
        above = math.hypot(high - value, other - other_low)
        return self.gap - below, self.gap + above

    @property
    def shares(self) -> dict[str, Share]:
        """The rows of a table, by their names."""
        return {
            "accuracy where the chosen answer is longer": self.chosen_longer,
            "accuracy where it is shorter": self.chosen_shorter,
            "accuracy of length alone: the longer is better": self.length_alone,
            "model ranks the longer answer higher": self.prefers_longer,
        }

    def findings(self) -> list[str]:
        """What was found, in sentences: the bias first, then the model against length alone."""
        if not self.length_alone.count:
            return ["No pair has answers of different lengths: nothing can be said about length."]
        return [self._bias(), self._against_length(), self._rank()]

    def _bias(self) -> str:
        if not self.chosen_longer.count or not self.chosen_shorter.count:
            kind = "longer" if self.chosen_longer.count else "shorter"
            return f"The chosen answer is always the {kind} one: data like this can't tell worth from length."
        numbers = (
            f"{_percent(self.chosen_longer.value)} right where the chosen answer is longer, "
            f"{_percent(self.chosen_shorter.value)} where it is shorter"
        )
        low, high = self.gap_interval
        points = f"a gap of {100 * self.gap:+.0f} points (95%: {100 * low:+.0f} to {100 * high:+.0f})"
        if low > 0:
            return f"The model favours longer answers: {numbers}, {points}."
        if high < 0:
            return f"The model favours shorter answers: {numbers}, {points}."
        return f"No length bias shows on {self.length_alone.count:,} pairs: {numbers}, {points}."

    def _against_length(self) -> str:
        """The two predictors differ where the model is right on shorter chosen answers, or wrong on longer ones."""
        better = self.chosen_shorter.hits
        worse = self.chosen_longer.count - self.chosen_longer.hits
        right = self.chosen_longer.hits + better
        rule = (
            f"Taking the longer answer would be right in {_percent(self.length_alone.value)} of the pairs of unequal "
            f"length; the model is in {_percent(right / self.length_alone.count)}"
        )
        low, high = wilson_interval(better, better + worse) if better + worse else (0.0, 1.0)
        if low > 0.5:
            return f"{rule}, which is better than length alone."
        if high < 0.5:
            return f"{rule}, which is worse than length alone."
        return f"{rule}, which this many pairs can't tell from length alone."

    def _rank(self) -> str:
        rank = "can't be computed" if math.isnan(self.correlation) else f"is {self.correlation:+.2f}"
        return (
            f"It ranks the longer answer higher in {_percent(self.prefers_longer.value)} of them, and the rank "
            f"correlation of reward and length {rank}."
        )


def measure_length_bias(
    chosen: Floats, rejected: Floats, chosen_lengths: Floats, rejected_lengths: Floats
) -> LengthBias:
    """Measures what the rewards of pairs have to do with the lengths of their answers.

    As in accuracies, a tie of rewards is wrong. The prompt may count in the lengths: both answers of a pair have it.

    Args:
        chosen: Rewards, float [pairs].
        rejected: Rewards, float [pairs].
        chosen_lengths: In tokens, or in any other unit, [pairs].
        rejected_lengths: Likewise.

    Raises:
        ValueError: The arrays have different lengths, or none.
    """
    if not chosen.size or len({array.shape for array in (chosen, rejected, chosen_lengths, rejected_lengths)}) != 1:
        raise ValueError("needs the rewards and lengths of the same pairs, at least one")
    right = chosen > rejected
    longer, shorter = chosen_lengths > rejected_lengths, chosen_lengths < rejected_lengths
    return LengthBias(
        chosen_longer=_share(right[longer]),
        chosen_shorter=_share(right[shorter]),
        length_alone=_share(longer[longer | shorter]),
        prefers_longer=_share(np.concatenate([right[longer], (rejected > chosen)[shorter]])),
        correlation=_spearman(np.concatenate([chosen, rejected]), np.concatenate([chosen_lengths, rejected_lengths])),
    )


def _share(hits: npt.NDArray[np.bool_]) -> Share:
    return Share(count=hits.size, hits=int(hits.sum()))


def _spearman(values: Floats, others: Floats) -> float:
    ranks, other_ranks = _ranks(values), _ranks(others)
    if np.ptp(ranks) == 0 or np.ptp(other_ranks) == 0:
        return math.nan
    return float(np.corrcoef(ranks, other_ranks)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = ends - (counts - 1) / 2
    return means[places]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
