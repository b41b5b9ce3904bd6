"""The pictures in a training's report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rewardserve_evaluation import Evaluation, LengthBias, wilson_interval
from rewardserve_evaluation._calibration import equal_bins
from rewardserve_evaluation._panels import CHOSEN, NEUTRAL, REJECTED, draw_calibration, draw_rewards, head, tidy

from rewardserve_training._evaluation import PairRewards

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["data_uri", "learning_curves", "lengths", "rewards"]

Floats = npt.NDArray[np.float64]
History = Sequence[Mapping[str, Any]]

_SMOOTHED_FROM = 40
"""Points of a curve from which its mean is drawn over it."""


def data_uri(figure: Figure) -> str:
    """A figure as SVG, in a URI that an `<img>` shows without a network."""
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def learning_curves(history: History, evaluation: Evaluation | None) -> Figure:
    """Loss, accuracy, margin and learning rate against the updates.

    Args:
        history: The trainer's log.
        evaluation: Of the saved model, drawn at the last update.
    """
    figure = _figure(6.6)
    (loss, accuracy), (margin, rate) = figure.subplots(2, 2, sharex=True)
    final: tuple[float | None, ...] = (None, None, None)
    if evaluation is not None:
        final = evaluation.calibration.log_loss, evaluation.accuracy.accuracy, evaluation.accuracy.mean_margin
    panels = ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy"), (margin, "margin", "Margin of the rewards"))
    for (axes, name, title), value in zip(panels, final, strict=True):
        _curves(axes, history, name, value)
        _title(axes, title)
    steps, rates = _series(history, "learning_rate")
    rate.plot(steps, 1000 * rates, color=NEUTRAL, linewidth=1.6, marker="o" if len(steps) == 1 else None)
    rate.set_ylim(bottom=0)
    _title(rate, "Learning rate, times 1,000")
    loss.axhline(np.log(2), color=NEUTRAL, linestyle=":", linewidth=1)
    accuracy.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    accuracy.yaxis.set_major_formatter(_percent)
    for axes in (loss, accuracy, margin, rate):
        tidy(axes)
    for axes in (margin, rate):
        axes.set_xlabel("update")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return figure


def _curves(axes: Axes, history: History, name: str, final: float | None) -> None:
    steps, values = _series(history, name)
    smooth = steps.size >= _SMOOTHED_FROM
    label = None if smooth else "training"
    marker = None if steps.size > 1 else "o"
    axes.plot(steps, values, color=CHOSEN, linewidth=1.2, alpha=0.3 if smooth else 1, marker=marker, label=label)
    if smooth:
        width = steps.size // 10
        means = np.convolve(values, np.full(width, 1 / width), mode="valid")
        axes.plot(steps[width - 1 :], means, color=CHOSEN, linewidth=1.8, label=f"training, mean of {width} points")
    steps, values = _series(history, f"eval_{name}")
    if steps.size:
        axes.plot(steps, values, "o-", color=REJECTED, linewidth=1.6, markersize=4, label="evaluation")
    if final is not None:
        last = max(entry["step"] for entry in history)
        axes.plot([last], [final], "D", color=REJECTED, markersize=6, label="saved model")


def _series(history: History, name: str) -> tuple[Floats, Floats]:
    found = [(entry["step"], entry[name]) for entry in history if name in entry]
    steps, values = np.array(found, dtype=float).reshape(-1, 2).T
    return steps, values


def rewards(evaluation: Evaluation) -> Figure:
    """Distributions of chosen and rejected, and accuracy by margin."""
    figure = _figure(4.4)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        tidy(axes)
    draw_rewards(left, evaluation)
    draw_calibration(right, evaluation)
    return figure


def lengths(pairs: Sequence[PairRewards], bias: LengthBias) -> Figure:
    """Accuracy by which answer is longer, by how much, by length as such; rewards against lengths."""
    chosen = np.array([len(each.pair.chosen_ids) for each in pairs], dtype=float)
    rejected = np.array([len(each.pair.rejected_ids) for each in pairs], dtype=float)
    right = np.array([each.chosen > each.rejected for each in pairs])
    figure = _figure(8.4)
    (kinds, difference), (longest, scatter) = figure.subplots(2, 2)
    for axes in (kinds, difference, longest, scatter):
        tidy(axes)
    _draw_kinds(kinds, bias)
    _draw_accuracies(difference, chosen - rejected, right)
    difference.axvline(0, color=NEUTRAL, linewidth=1)
    difference.set_xlabel("tokens of the chosen answer, less those of the rejected one")
    _title(difference, "Accuracy by difference in length: level without bias")
    _draw_accuracies(longest, np.maximum(chosen, rejected), right)
    longest.set_xlabel("tokens of the pair's longer sequence")
    _title(longest, "Accuracy by length")
    for name, tokens, color in (("chosen", chosen, CHOSEN), ("rejected", rejected, REJECTED)):
        values = [getattr(each, name) for each in pairs]
        scatter.scatter(tokens, values, s=14, alpha=0.5, linewidths=0, color=color, label=name, rasterized=True)
    scatter.set_xlabel("tokens of the sequence, prompt included")
    scatter.set_ylabel("reward")
    head(scatter, f"Reward against length, rank correlation {bias.correlation:+.2f}")
    return figure


def _draw_kinds(axes: Axes, bias: LengthBias) -> None:
    kinds = {
        "chosen is\nlonger": (bias.chosen_longer, CHOSEN),
        "chosen is\nshorter": (bias.chosen_shorter, CHOSEN),
        "length alone:\nlonger is better": (bias.length_alone, NEUTRAL),
        "model prefers\nthe longer": (bias.prefers_longer, REJECTED),
    }
    for place, (share, color) in enumerate(kinds.values()):
        if not share.count:
            continue
        axes.bar(place, share.value, width=0.6, color=color, alpha=0.35, edgecolor=color, linewidth=1.4)
        spread = np.abs(np.subtract(share.interval, share.value))[:, None]
        axes.errorbar([place], [share.value], spread, color=color, capsize=4, linewidth=1.4)
        axes.text(
            place, 0.02, f"{share.hits:,} of\n{share.count:,}", ha="center", va="bottom", fontsize=8, color=NEUTRAL
        )
    axes.set_xticks(range(len(kinds)), kinds, fontsize=9)
    axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(_percent)
    _title(axes, "Accuracy of the model, and what length has to do with it")


def _draw_accuracies(axes: Axes, values: Floats, right: npt.NDArray[np.bool_]) -> None:
    """Accuracy in bins of equally many pairs, with 95% intervals."""
    bins = equal_bins(values)
    centers = [float(values[inside].mean()) for inside in bins]
    accuracies = np.array([right[inside].mean() for inside in bins])
    intervals = np.array([wilson_interval(float(right[inside].sum()), int(inside.sum())) for inside in bins])
    spread = np.abs(intervals.T - accuracies)
    axes.errorbar(centers, accuracies, spread, fmt="o-", color=CHOSEN, markersize=6, capsize=3, linewidth=1.3)
    axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    axes.set_ylim(min(0.3, float(intervals.min()) - 0.02), 1.02)
    axes.yaxis.set_major_formatter(_percent)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, pad=10)


def _figure(height: float) -> Figure:
    # A figure of its own, without pyplot: no global state, no display.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(11, height), layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12))


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.0f}%"
