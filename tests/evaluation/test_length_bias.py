"""Length bias: figures that are worked out by hand, and the sentences about them."""

from __future__ import annotations

import numpy as np
import pytest
from rewardserve_evaluation import LengthBias, Share, measure_length_bias, wilson_interval


def counted(longer: tuple[int, int], shorter: tuple[int, int], correlation: float = 0.0) -> LengthBias:
    """Of (right, pairs) where the chosen answer is longer, and where it is shorter."""
    (right, count), (other_right, other_count) = longer, shorter
    return LengthBias(
        chosen_longer=Share(count=count, hits=right),
        chosen_shorter=Share(count=other_count, hits=other_right),
        length_alone=Share(count=count + other_count, hits=count),
        prefers_longer=Share(count=count + other_count, hits=right + other_count - other_right),
        correlation=correlation,
    )


def test_five_pairs() -> None:
    """Longer and right, longer and wrong, longer and tied, shorter and right, of equal length."""
    bias = measure_length_bias(
        np.array([2.0, 0.0, 1.0, 5.0, 4.0]),
        np.array([1.0, 1.0, 1.0, 0.0, 3.0]),
        np.array([9.0, 9.0, 9.0, 2.0, 5.0]),
        np.array([3.0, 3.0, 3.0, 8.0, 5.0]),
    )
    assert bias.chosen_longer == Share(count=3, hits=1)
    assert bias.chosen_shorter == Share(count=1, hits=1)
    assert bias.length_alone == Share(count=4, hits=3)
    assert bias.prefers_longer == Share(count=4, hits=1)
    assert bias.gap == pytest.approx(1 / 3 - 1)
    assert bias.chosen_longer.interval == wilson_interval(1, 3)


def test_spearman() -> None:
    """Ranks of the lengths 10, 20, 20, 40 are 1, 2.5, 2.5, 4; of the rewards 1, 3, 2, 4."""
    bias = measure_length_bias(
        np.array([-7.0, 0.1]), np.array([0.0, 99.0]), np.array([10.0, 20.0]), np.array([20.0, 40.0])
    )
    assert bias.correlation == pytest.approx(4.5 / np.sqrt(5 * 4.5))


def test_gap_interval() -> None:
    """Newcombe 1998, table II, example (a): 56/70 less 48/80, method 10 gives 0.0524 to 0.3339."""
    low, high = counted((56, 70), (48, 80)).gap_interval
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


@pytest.mark.parametrize(
    ("longer", "shorter", "sentences"),
    [
        ((95, 100), (5, 80), ["The model favours longer answers: 95% right", "can't tell from length alone"]),
        ((40, 100), (76, 80), ["The model favours shorter answers: 40% right", "can't tell from length alone"]),
        ((90, 100), (72, 80), ["No length bias shows on 180 pairs", "which is better than length alone"]),
        ((20, 100), (4, 80), ["The model favours longer answers", "which is worse than length alone"]),
        ((9, 10), (0, 0), ["The chosen answer is always the longer one", ""]),
    ],
)
def test_findings(longer: tuple[int, int], shorter: tuple[int, int], sentences: list[str]) -> None:
    bias, against, _ = counted(longer, shorter).findings()
    assert bias.startswith(sentences[0])
    assert sentences[1] in against


def test_equal_lengths_say_nothing() -> None:
    ones = np.ones(3)
    bias = measure_length_bias(np.array([1.0, 2.0, 3.0]), np.zeros(3), ones, ones)
    assert bias.findings() == ["No pair has answers of different lengths: nothing can be said about length."]
    assert np.isnan(bias.correlation)


def test_arrays_of_other_pairs() -> None:
    with pytest.raises(ValueError, match="the same pairs"):
        measure_length_bias(np.ones(3), np.ones(3), np.ones(2), np.ones(3))
