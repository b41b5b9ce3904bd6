"""Plots, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["plot_curve", "plot_rewards"]


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


def plot_rewards(rewards: Sequence[float], held_out: tuple[float, float], title: str, path: Path) -> None:
    """A policy's mean reward step by step, with the mean of ten, and that of held-out prompts at both ends.

    Args:
        rewards: Of each step.
        held_out: Before the first step, and after the last.
        title: Of the plot.
        path: The file; its directory is made.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    steps = range(1, len(rewards) + 1)
    axes.plot(steps, rewards, ".", color="#1b7f79", alpha=0.45, label="mean of a step's completions")
    width = min(10, len(rewards))
    means = [sum(rewards[end - width : end]) / width for end in range(width, len(rewards) + 1)]
    axes.plot(range(width, len(rewards) + 1), means, color="#1b7f79", linewidth=2, label=f"of the last {width} steps")
    axes.plot([0, len(rewards)], held_out, "D", color="#d1603d", label="held-out prompts, before and after")
    axes.set(xlabel="step", ylabel="mean reward", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
