"""The report at the end of a training: one HTML page without network or scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rewardserve_evaluation import Evaluation, Share, report

from rewardserve_training._evaluation import TrainEvaluation
from rewardserve_training._report_figures import data_uri, learning_curves, lengths, rewards

__all__ = ["REPORT_FILE", "write_report"]

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class _Tile:
    """A figure at the top of the page."""

    value: str
    name: str
    detail: str


def write_report(
    directory: Path,
    run: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    evaluation: TrainEvaluation | None,
) -> None:
    """Writes learning curves, rewards, and what they have to do with length.

    Args:
        directory: The checkpoint's.
        run: What was trained, as `training.json` has it.
        history: The trainer's log.
        evaluation: Of the saved model; None leaves the curves alone.
    """
    nothing = "No evaluation was asked for: there are no rewards to show."
    if evaluation is not None and not math.isfinite(evaluation.mean):
        nothing = "The saved model's rewards aren't finite: the training diverged. A lower learning rate may help."
        evaluation = None
    # Browsers and mail programs open it: what comes from data and options is escaped.
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        files("rewardserve_training").joinpath("report.html").read_text(encoding="utf-8")
    )
    measured = _measured(evaluation) if evaluation is not None else None
    text = page.render(
        name=directory.resolve().name,
        base=run["base"],
        tiles=_tiles(run, history, evaluation),
        curves=data_uri(learning_curves(history, measured)),
        rewards=data_uri(rewards(measured)) if measured is not None else None,
        lengths=data_uri(lengths(evaluation.rewards, evaluation.length_bias)) if evaluation is not None else None,
        findings=evaluation.length_bias.findings() if evaluation is not None else (),
        shares=_shares(evaluation) if evaluation is not None else (),
        nothing=nothing,
        options=run["options"],
        versions=run["versions"],
    )
    (directory / REPORT_FILE).write_text(text, encoding="utf-8")


def _measured(evaluation: TrainEvaluation) -> Evaluation:
    return report([each.scored for each in evaluation.rewards], rows=len(evaluation.rewards), skipped=0)


def _tiles(
    run: Mapping[str, Any], history: Sequence[Mapping[str, Any]], evaluation: TrainEvaluation | None
) -> list[_Tile]:
    losses = [entry["loss"] for entry in history if "loss" in entry]
    tenth = max(1, len(losses) // 10)
    first, last = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    updates = max(entry["step"] for entry in history)
    tiles = [_Tile(f"{last:.3f}", "training loss", f"from {first:.3f}, in {updates:,} updates")]
    tiles.append(_Tile(f"{run['pairs']['train']:,}", "pairs", f"trained on, {run['pairs']['too_long']:,} too long"))
    if evaluation is None:
        return tiles
    accuracy, bias = evaluation.accuracy, evaluation.length_bias
    interval = f"95%: {accuracy.low:.1%} to {accuracy.high:.1%}, {accuracy.rows:,} pairs"
    tiles.insert(0, _Tile(f"{accuracy.accuracy:.1%}", "held-out accuracy", interval))
    if bias.chosen_longer.count and bias.chosen_shorter.count:
        low, high = bias.gap_interval
        tiles.append(
            _Tile(f"{100 * bias.gap:+.0f}", "points of length bias", f"95%: {100 * low:+.0f} to {100 * high:+.0f}")
        )
    return tiles


def _shares(evaluation: TrainEvaluation) -> list[tuple[str, ...]]:
    """Rows of the table: what, of how many pairs, share, interval."""
    accuracy = Share(count=evaluation.accuracy.rows, hits=evaluation.accuracy.correct)
    rows = {"accuracy, all pairs": accuracy, **evaluation.length_bias.shares}
    return [(name, *share.cells) for name, share in rows.items()]
