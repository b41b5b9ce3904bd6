"""`rewardserve evaluate`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn
from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve._errors import RewardServeError, TruncationWarning
from rewardserve._session import DEFAULT_TIMEOUT
from rewardserve.cli._checkpoint_options import Base, Tokenization, TokenizationOption, ValueHeadPrefix
from rewardserve.cli._console import SafeConsole, progress_bar, stderr
from rewardserve.cli._evaluation_tables import print_evaluation
from rewardserve.cli._extras import require
from rewardserve.cli._server_options import Server, Timeout, takes_server

if TYPE_CHECKING:
    from rewardserve_evaluation import Evaluation

__all__ = ["evaluate"]


class _RewardBench(StrEnum):
    v1 = "v1"
    v2 = "v2"


@takes_server
def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Preferences: JSONL with `chosen` and `rejected`, also compressed (.gz).")
    ],
    *,
    server: Server,
    timeout: Timeout = DEFAULT_TIMEOUT,
    checkpoint: Annotated[
        str | None, typer.Option(help="Evaluate this checkpoint directly, without a server (a directory or Hub name).")
    ] = None,
    tokenization: TokenizationOption = Tokenization.auto,
    base: Base = None,
    value_head_prefix: ValueHeadPrefix = None,
    rewardbench: Annotated[
        _RewardBench | None, typer.Option(help="The data is RewardBench's: add the scores of that version.")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Score a text `prompt` and its text answers through the model's chat template. "
            "[default: only with --rewardbench]",
        ),
    ] = None,
    skip_too_long: Annotated[
        bool, typer.Option("--skip-too-long", help="Leave out rows that are too long for the model, and say how many.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="PNG file to draw the rewards and the calibration of margins in.")
    ] = None,
) -> None:
    """Measure how well a reward model agrees with preferences.

    Each row of the data says which answers are better: `chosen` and `rejected` are texts or lists of chat messages, or
    lists of several; `prompt` (put before each answer) and `subset` may be added. Reported are the accuracy with its
    95% interval for each subset, a tie being wrong, the margins, and whether they are calibrated.
    """
    if checkpoint is not None and not server.is_default:
        raise typer.BadParameter("--checkpoint needs no server: leave out --url, --model and what else concerns one")
    reading = {"base": base, "value_head_prefix": value_head_prefix, "tokenization": tokenization.value}
    if checkpoint is None and reading != {"base": None, "value_head_prefix": None, "tokenization": "auto"}:
        raise typer.BadParameter("--base, --value-head-prefix and --tokenization are for --checkpoint")
    package = require("rewardserve_evaluation", "evaluate")
    if plot is not None:
        _check_plot(plot, package.check_plotting)
    as_chat = rewardbench is not None if chat is None else chat
    preferences = package.read_preferences(data, limit=limit, chat=as_chat)
    benchmark = None if rewardbench is None else rewardbench.value
    with ExitStack() as stack:
        if checkpoint is not None:
            scorer = require("rewardserve_export", "export").checkpoint_scorer(checkpoint, **reading)
        else:
            scorer = stack.enter_context(RewardClient(**server.client_arguments(), timeout=timeout))
        try:
            with _truncation_noticed(), _progress() as progress:
                result = package.evaluate(
                    preferences, scorer, progress, benchmark=benchmark, skip_too_long=skip_too_long
                )
        except package.EvaluationInterruptedError as error:
            if error.partial is not None:
                _print(error.partial, as_json)
            raise
    _print(result, as_json)
    if plot is not None:
        package.plot(result, plot, title=f"{checkpoint or server.model_name} on {data.name}")
        stderr().print(Text.assemble(("drawn", "green"), f" {plot}"))


def _check_plot(path: Path, check_plotting: Callable[[], None]) -> None:
    """What would make the drawing fail must not show only after minutes of scoring."""
    if path.suffix != ".png":
        raise typer.BadParameter("--plot draws a PNG: give a name that ends in .png")
    if not path.absolute().parent.is_dir():
        raise RewardServeError(f"{path} can't be written: {path.parent} is no directory. Remedy: make it first")
    check_plotting()


@contextmanager
def _truncation_noticed() -> Iterator[None]:
    """One line says that texts were cut, not one for each chunk of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncationWarning)
        yield
    if any(issubclass(warning.category, TruncationWarning) for warning in caught):
        text = " some answers were cut to the model's max_length: these are results on cut answers"
        stderr().print(Text.assemble(("warning:", "yellow"), text))
    for warning in caught:
        if not issubclass(warning.category, TruncationWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("scoring", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print(evaluation: Evaluation, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(evaluation.to_json(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        print_evaluation(evaluation, SafeConsole())
