"""The picture of an evaluation: how the rewards are distributed, and what a margin is worth."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rewardserve import MissingExtraError, RewardServeError

from rewardserve_evaluation._panels import NEUTRAL, draw_calibration, draw_rewards, tidy
from rewardserve_evaluation._report import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_plotting", "plot"]


def check_plotting() -> None:
    """Sees to it that `plot` will work, before anything expensive is computed for it.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("evaluate", "matplotlib") from error


def plot(evaluation: Evaluation, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Draws an evaluation: the distributions of chosen and rejected rewards, and the calibration of margins.

    Args:
        evaluation: What to draw.
        path: PNG file to write, 1650 x 750 pixels; one that is there is replaced.
        title: Above both panels, for instance the names of the model and of the data.

    Raises:
        MissingExtraError: matplotlib isn't installed.
        RewardServeError: The file can't be written.
    """
    check_plotting()
    # A figure of its own, without pyplot: no global state, no display, safe in any thread.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1), gridspec_kw={"wspace": 0.08})
    for axes in (left, right):
        tidy(axes)
    draw_rewards(left, evaluation)
    draw_calibration(right, evaluation)
    _draw_title(figure, evaluation, title)
    try:
        figure.savefig(path, format="png", backend="agg")
    except OSError as error:
        raise RewardServeError(f"{os.fspath(path)} can't be written ({error}). Remedy: check the path") from error


def _draw_title(figure: Figure, evaluation: Evaluation, title: str | None) -> None:
    accuracy = evaluation.accuracy
    interval = f"95% interval {accuracy.low:.1%} to {accuracy.high:.1%}"
    line = f"accuracy {accuracy.accuracy:.1%} on {accuracy.rows:,} preferences ({interval})"
    figure.suptitle(f"{title}\n{line}" if title else line, fontsize=12, color=NEUTRAL, parse_math=False)
