"""Panels of plots: what `evaluate --plot` and the report of a training have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rewardserve_evaluation._report import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CHOSEN", "NEUTRAL", "REJECTED", "draw_calibration", "draw_rewards", "head", "tidy"]

CHOSEN, REJECTED, NEUTRAL = "#1b7f79", "#d1603d", "#4a4a4a"
"""Teal and orange: told apart in every common kind of colour blindness, and by lightness."""

_MAX_BINS = 40


def tidy(axes: Axes) -> None:
    """Leaves out the lines that say nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def draw_rewards(axes: Axes, evaluation: Evaluation) -> None:
    """Histograms of the chosen and the rejected answers' rewards."""
    chosen = np.array([reward for row in evaluation.scored for reward in row.chosen])
    rejected = np.array([reward for row in evaluation.scored for reward in row.rejected])
    everything = np.concatenate([chosen, rejected])
    count = min(_MAX_BINS, math.ceil(2 * math.sqrt(everything.size)))
    edges = np.histogram_bin_edges(everything, bins=count).tolist()
    for name, values, color in (("chosen", chosen, CHOSEN), ("rejected", rejected, REJECTED)):
        # Shares, not counts: RewardBench 2 has three rejected answers for each chosen one.
        weights = np.full(values.size, 1 / values.size)
        label = f"{name}, mean {values.mean():.3g}"
        axes.hist(values, edges, weights=weights, histtype="stepfilled", color=color, alpha=0.35)
        axes.hist(values, edges, weights=weights, histtype="step", color=color, linewidth=1.6, label=label)
        axes.axvline(values.mean(), color=color, linestyle="--", linewidth=1.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.set_xlabel("reward")
    axes.set_ylabel("share of the answers")
    head(axes, f"Rewards of {chosen.size:,} chosen and {rejected.size:,} rejected answers")


def draw_calibration(axes: Axes, evaluation: Evaluation) -> None:
    """Accuracy against margin, measured and as the Bradley-Terry model has it."""
    bins = evaluation.calibration.bins
    margins = np.array([part.margin for part in bins])
    accuracies = np.array([part.accuracy for part in bins])
    spread = np.abs(np.array([[part.low, part.high] for part in bins]).T - accuracies)
    line = np.linspace(0, margins.max() * 1.08 or 1.0, 200)
    axes.plot(line, 1 / (1 + np.exp(-line)), color=NEUTRAL, linewidth=1.6, label="predicted, sigmoid(|margin|)")
    label = f"measured, in {len(bins)} bins" if len(bins) > 1 else "measured, all pairs"
    axes.errorbar(
        margins, accuracies, spread, fmt="o", color=CHOSEN, markersize=6, capsize=3, linewidth=1.3, label=label
    )
    axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    axes.set_xlim(0, line[-1])
    axes.set_ylim(min(0.4, float((accuracies - spread[0]).min()) - 0.02), 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.set_xlabel("|margin|: difference of the two rewards")
    axes.set_ylabel("chosen answer has the higher reward")
    head(axes, f"Calibration of margins, expected error {evaluation.calibration.error:.3f}")


def head(axes: Axes, title: str) -> None:
    """Title and legend, above the axes where they hide no data."""
    axes.set_title(title, loc="left", fontsize=11, pad=26)
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderpad=0)
    legend.set_in_layout(False)  # a wide one would narrow its axes
