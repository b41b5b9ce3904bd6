"""The dashboard's panels from Prometheus' answers, in the dashboard's layout, as one PNG. It isn't Grafana."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks._dashboard_panels import Answer, Panel

__all__ = ["plot_dashboard"]

_COLUMNS = 24
_WIDTH, _HEIGHT = 0.75, 0.3
"""Inches of a column and of a row."""


def plot_dashboard(answers: Sequence[Answer], phases: Mapping[str, float], path: Path) -> None:
    """Draws every panel.

    Args:
        answers: Of all queries, those of a panel one after another.
        phases: Name -> seconds since the epoch, marked in each panel over time.
        path: The file; its directory is made.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [(panel, list(group)) for panel, group in groupby(answers, key=lambda answer: answer.panel)]
    height = max(panel.position[1] + panel.position[3] for panel, _ in panels)
    start = min(phases.values())
    with plt.rc_context({"font.size": 6, "axes.titlesize": 7, "axes.titleweight": "bold"}):
        figure = plt.figure(figsize=(_COLUMNS * _WIDTH, height * _HEIGHT))
        for panel, found in panels:
            x, y, wide, high = panel.position
            # Room for the title above, for numbers below and on the left.
            left, bottom = x + 0.8, height - y - high + 0.9
            box = (left / _COLUMNS, bottom / height, (wide - 1.0) / _COLUMNS, (high - 1.9) / height)
            axes = figure.add_axes(box)
            axes.set_title(panel.title)
            _DRAW.get(panel.kind, _lines)(axes, panel, found, start)
            if panel.kind == "timeseries":
                for name, began in phases.items():
                    axes.axvline(began - start, color="0.7", linewidth=0.6, linestyle=":")
                    place = axes.get_xaxis_transform()
                    axes.text(began - start, 0.02, name, transform=place, rotation=90, color="0.5", clip_on=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _lines(axes: Any, panel: Panel, answers: Sequence[Answer], start: float) -> None:
    for answer in answers:
        for series in answer.series:
            times = [time - start for time, _ in series.points]
            axes.plot(times, [value for _, value in series.points], linewidth=0.8, label=answer.name(series))
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=5, loc="upper left", ncols=2, framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="0.5")


def _stat(axes: Any, panel: Panel, answers: Sequence[Answer], start: float) -> None:
    axes.set_axis_off()
    values = [series.points[-1][1] for answer in answers for series in answer.series]
    text = "no data" if not values else f"{values[0]:.1%}" if panel.unit == "percentunit" else f"{values[0]:.4g}"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=16)


def _heatmap(axes: Any, panel: Panel, answers: Sequence[Answer], start: float) -> None:
    """Buckets hold what is at most `le`, so each is the difference from the one before."""
    import numpy as np

    buckets = sorted(answers[0].series, key=lambda series: float(series.labels["le"]))
    times = sorted({time for series in buckets for time, _ in series.points})
    counts = np.zeros((len(buckets), len(times)))
    for row, series in enumerate(buckets):
        points = dict(series.points)
        counts[row] = [points.get(time, 0.0) for time in times]
    counts[1:] -= counts[:-1].copy()
    axes.pcolormesh([time - start for time in times], range(len(buckets)), counts, cmap="Blues", shading="nearest")
    axes.set_yticks(range(len(buckets)), [_short(series.labels["le"]) for series in buckets])


def _short(limit: str) -> str:
    return f"\u2264 {float(limit):.2g}"


_DRAW = {"timeseries": _lines, "stat": _stat, "heatmap": _heatmap}
