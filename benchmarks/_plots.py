"""Plots, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["plot_curve"]


def plot_curve(curves: Mapping[str, Mapping[int, float]], axis: str, title: str, path: Path) -> None:
    """Tokens a second, one line a server, against something that doubles from point to point.

    Args:
        curves: Server -> x -> tokens a second.
        axis: What x is.
        title: Of the plot.
        path: The file; its directory is made.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, points in curves.items():
        ours = name.startswith("rewardserve/")
        axes.plot(list(points), list(points.values()), "o-" if ours else "s--", linewidth=2 if ours else 1, label=name)
    axes.set_xscale("log", base=2)
    ticks = sorted({x for points in curves.values() for x in points})
    axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
    axes.set_ylim(bottom=0)
    axes.set(xlabel=axis, ylabel="tokens a second", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
