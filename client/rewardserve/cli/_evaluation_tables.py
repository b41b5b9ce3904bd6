"""What `rewardserve evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rewardserve_evaluation import Accuracy, Evaluation, LengthBias, RewardBenchV1, RewardBenchV2

__all__ = ["length_table", "print_evaluation"]

_SHOWN = 5
"""Names listed before "and N more"."""


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints the accuracies, the margins, and RewardBench's scores where there are some."""
    console.print(_accuracies(evaluation))
    console.print(_rewards(evaluation))
    if evaluation.rewardbench is not None:
        _print_rewardbench(evaluation.rewardbench, console)
    if evaluation.skipped:
        console.print(f"[yellow]{evaluation.skipped:,} rows are left out: too long for the model[/]", soft_wrap=True)
    if not evaluation.complete:
        console.print(f"[bold red]This is a part: {evaluation.unscored:,} rows have no reward.[/]", soft_wrap=True)


def length_table(bias: LengthBias) -> Table:
    """Accuracies where the chosen answer is longer and where it is shorter, and that of length alone."""
    table = Table(title="Length bias", title_justify="left", title_style="bold")
    table.add_column("on the evaluation set", style="cyan", overflow="fold")
    for heading in ("pairs", "share", "95% interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, share in bias.shares.items():
        table.add_row(name, *share.cells)
    return table


def _accuracies(evaluation: Evaluation) -> Table:
    table = Table(title="Accuracy", title_justify="left", title_style="bold", show_footer=bool(evaluation.subsets))
    rows = {name: _accuracy_cells(accuracy) for name, accuracy in evaluation.subsets.items()}
    total = _accuracy_cells(evaluation.accuracy)
    table.add_column("subset", footer="all", style="cyan", overflow="fold")
    for heading, footer in zip(("rows", "accuracy", "95% interval", "ties", "mean margin"), total, strict=True):
        table.add_column(heading, footer=footer, justify="right", no_wrap=True)
    for name, cells in (rows or {"all": total}).items():
        table.add_row(escape(name), *cells)
    return table


def _accuracy_cells(accuracy: Accuracy) -> tuple[str, ...]:
    interval = f"{accuracy.low:.1%} to {accuracy.high:.1%}"
    return (
        f"{accuracy.rows:,}",
        f"{accuracy.accuracy:.1%}",
        interval,
        f"{accuracy.ties:,}",
        f"{accuracy.mean_margin:.4g}",
    )


def _rewards(evaluation: Evaluation) -> Table:
    table = Table(show_header=False, title="Rewards and margins", title_justify="left", title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, rewards in (("chosen", evaluation.chosen), ("rejected", evaluation.rejected)):
        table.add_row(
            name, f"mean {rewards.mean:.4g}, std {rewards.std:.4g}, from {rewards.minimum:.4g} to {rewards.maximum:.4g}"
        )
    calibration = evaluation.calibration
    table.add_row(
        "calibration error",
        f"{calibration.error:.3f}: expected, of sigmoid(margin), in {len(calibration.bins)} bins of equal size",
    )
    table.add_row("log loss", f"{calibration.log_loss:.4g}: 0.693 says nothing")
    return table


def _print_rewardbench(scores: RewardBenchV1 | RewardBenchV2, console: Console) -> None:
    from rewardserve_evaluation import RewardBenchV1

    if isinstance(scores, RewardBenchV1):
        parts = {**scores.sections, "Prior Sets (weight 0.5)": scores.prior_sets}
        console.print(_scores("RewardBench", parts, scores.score))
        if scores.missing:
            console.print(f"[yellow]not in the data:[/] {_names(scores.missing)}", soft_wrap=True)
    else:
        console.print(_scores("RewardBench 2", scores.subsets, scores.score))
        if (ties := scores.ties) is not None:
            console.print(
                f"Ties, {ties.prompts} prompts: accuracy {ties.tied_accuracy:.1%}, of the reference rows "
                f"{ties.reference_accuracy:.1%}; lead over spread {ties.preferred:.1%}, hard {ties.preferred_hard:.1%}",
                soft_wrap=True,
            )
    if scores.ignored:
        console.print(f"[yellow]not of RewardBench, ignored there:[/] {_names(scores.ignored)}", soft_wrap=True)


def _scores(title: str, parts: Mapping[str, float | None], score: float | None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_footer=True)
    table.add_column("", footer="score", style="cyan", no_wrap=True)
    table.add_column("score", footer=_percent(score), justify="right", no_wrap=True)
    for name, value in parts.items():
        table.add_row(name, _percent(value))
    return table


def _percent(value: float | None) -> str:
    return "not evaluated" if value is None else f"{100 * value:.1f}"


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return escape(", ".join(names[:_SHOWN]) + more)
