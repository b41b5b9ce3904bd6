"""`rewardserve score`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve._errors import InputError, RewardServeError, ServerError, TruncationWarning
from rewardserve._session import DEFAULT_TIMEOUT
from rewardserve.cli._console import stderr, stdout
from rewardserve.cli._jsonl import Reward, Row, open_output, read_rows, write_row
from rewardserve.cli._server_options import Model, Timeout, TokenizerFile, Url

__all__ = ["score"]

_CHUNK = 256
"""Texts scored at once: enough to fill the server's batches, few enough for the bar to move."""


def score(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to score.")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="JSONL file, one object a line with a field `text`. `-`: standard input."),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", help="JSONL file to write, each object with its `reward`. [default: stdout]"),
    ] = None,
    url: Url = "localhost:8001",
    model: Model = "reward",
    tokenizer: TokenizerFile = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Score texts with a served reward model.

    Texts come from the command line or from a JSONL file. Rewards are printed as a table for texts on a terminal, as
    JSONL else: the input's objects with a field `reward` added.
    """
    if bool(texts) == (input_file is not None):
        raise typer.BadParameter("give either texts or --input FILE")
    if input_file and output_file and output_file.exists() and input_file.exists() and output_file.samefile(input_file):
        raise typer.BadParameter("--output must be another file than --input")
    rows = (
        read_rows(input_file) if input_file else [Row(f"text {i}", {"text": t}) for i, t in enumerate(texts or (), 1)]
    )
    with RewardClient(url, model=model, tokenizer=tokenizer, timeout=timeout) as client:
        if texts and output_file is None and sys.stdout.isatty():
            _print_scores(client, rows)
        else:
            with open_output(output_file) as output:
                _score_rows(client, rows, output)


def _score_rows(client: RewardClient, rows: Sequence[Row], output: TextIO) -> None:
    """Writes every chunk as it comes, so that a failure loses nothing that was computed before."""
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=len(rows))
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            try:
                rewards = _score_chunk(client, chunk)
            except ServerError as error:
                arrived = _arrived(chunk, error)
                _write(output, *arrived)
                done = start + len(arrived[0])
                raise type(error)(f"{done} of {len(rows)} rewards are written; then: {error}") from error
            _write(output, chunk, rewards)
            progress.advance(task, len(chunk))


def _print_scores(client: RewardClient, rows: Sequence[Row]) -> None:
    try:
        stdout().print(_table(rows, _score_chunk(client, rows)))
    except ServerError as error:
        if (arrived := _arrived(rows, error))[0]:
            stdout().print(_table(*arrived))
        raise


def _write(output: TextIO, rows: Sequence[Row], rewards: Sequence[Reward]) -> None:
    for row, reward in zip(rows, rewards, strict=True):
        write_row(output, row, reward)
    output.flush()


def _arrived(rows: Sequence[Row], error: ServerError) -> tuple[list[Row], list[Reward]]:
    """The rows that have a reward although their call failed, and their rewards."""
    if error.partial is None:
        return [], []
    kept = sorted(set(range(len(rows))) - set(error.missing))
    return [rows[index] for index in kept], error.partial[kept].tolist()


def _score_chunk(client: RewardClient, rows: Sequence[Row]) -> list[Reward]:
    """Scores some rows; errors and warnings name them as the user knows them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncationWarning)
        try:
            rewards: list[Reward] = client.score([row.text for row in rows]).tolist()
        except InputError as error:
            message = str(error).removeprefix(f"item {error.index}: ")
            raise RewardServeError(f"{rows[error.index].where}: {message}") from error
    span = f"{rows[0].where} to {rows[-1].where}" if len(rows) > 1 else rows[0].where
    for warning in caught:
        message = f" {warning.message} (counted from 0, of {span})"
        stderr().print(Text.assemble(("warning:", "yellow"), message))
    return rewards


def _table(rows: Sequence[Row], rewards: Sequence[Reward]) -> Table:
    table = Table()
    table.add_column("reward", justify="right", style="cyan", no_wrap=True)
    table.add_column("text", overflow="fold")
    for row, reward in zip(rows, rewards, strict=True):
        shown = reward if isinstance(reward, list) else [reward]
        table.add_row(", ".join(f"{value:.4f}" for value in shown), row.text)
    return table
