"""`rewardserve score`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.progress import MofNCompleteColumn
from rich.table import Table

from rewardserve._client import RewardClient
from rewardserve._errors import ServerError
from rewardserve._session import DEFAULT_TIMEOUT
from rewardserve.cli._console import progress_bar, stderr, stdout
from rewardserve.cli._jsonl import STANDARD, Reward, Row, count_rows, encode_row, open_rows
from rewardserve.cli._row_scores import score_batch, score_rows, truncation_told
from rewardserve.cli._scored_file import ScoredFile
from rewardserve.cli._server_options import Server, Timeout, takes_server

__all__ = ["score"]


@takes_server
def score(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to score.")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="JSONL file, one object a line with a field `text`. `-`: standard input."),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="JSONL file to write, each object with its `reward`; one that was begun is gone on with. "
            "[default: stdout]",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Empty the output file first.")] = False,
    *,
    server: Server,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Score texts with a served reward model.

    Texts come from the command line or from a JSONL file of any size. Rewards are printed as a table for texts on a
    terminal, as JSONL else: the input's objects with a field `reward` added. A run that was ended, however it was, goes
    on where it stopped when the same command is given again.
    """
    if bool(texts) == (input_file is not None):
        raise typer.BadParameter("give either texts or --input FILE")
    if input_file and output_file and output_file.exists() and input_file.exists() and output_file.samefile(input_file):
        raise typer.BadParameter("--output must be another file than --input")
    source = open_rows(input_file) if input_file else nullcontext(iter(_argument_rows(texts or ())))
    with source as rows, RewardClient(**server.client_arguments(), timeout=timeout) as client:
        if texts and output_file is None and sys.stdout.isatty():
            _print_scores(client, _argument_rows(texts))
        elif output_file is None or output_file == STANDARD:
            _score_rows(client, rows, _writer(sys.stdout), total=_count(input_file))
        elif output_file.is_fifo() or output_file.is_char_device():
            with output_file.open("w", encoding="utf-8") as stream:
                _score_rows(client, rows, _writer(stream), total=_count(input_file))
        else:
            with ScoredFile.open(output_file, client.contract, overwrite=overwrite) as file:
                done = file.resume(rows)
                if done:
                    stderr().print(f"{output_file}: {done:,} rows are done already")
                scored = _score_rows(client, rows, file.write, done=done, total=_count(input_file))
            if done and not scored:
                stderr().print("nothing is left to score")


def _argument_rows(texts: Sequence[str]) -> list[Row]:
    return [Row(f"text {number}", {"text": text}) for number, text in enumerate(texts, start=1)]


def _count(input_file: Path | None) -> int | None:
    """How long the bar is, where one is shown: a look through the whole file takes seconds for a gigabyte."""
    if input_file is None or not input_file.is_file() or not stderr().is_terminal:
        return None
    return count_rows(input_file)


def _writer(stream: TextIO) -> Callable[[Row, Reward], None]:
    def write(row: Row, reward: Reward) -> None:
        stream.write(encode_row(row, reward, stream.encoding))
        stream.flush()

    return write


def _score_rows(
    client: RewardClient,
    rows: Iterator[Row],
    write: Callable[[Row, Reward], None],
    *,
    done: int = 0,
    total: int | None,
) -> int:
    """Writes every reward as it comes, so that a failure loses none before it; gives how many it wrote."""
    written = 0
    with truncation_told(), progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("scoring", total=total, completed=done)
        try:
            for row, reward in score_rows(client, rows):
                write(row, reward)
                written += 1
                progress.advance(task)
        except ServerError as error:
            raise type(error)(f"{done + written} rewards are written; then: {error}") from error
    return written


def _print_scores(client: RewardClient, rows: Sequence[Row]) -> None:
    try:
        with truncation_told():
            rewards = score_batch(client, rows)
    except ServerError as error:
        if error.partial is not None and len(kept := sorted(set(range(len(rows))) - set(error.missing))):
            stdout().print(_table([rows[index] for index in kept], error.partial[kept].tolist()))
        raise
    stdout().print(_table(rows, rewards))


def _table(rows: Sequence[Row], rewards: Sequence[Reward]) -> Table:
    table = Table()
    table.add_column("reward", justify="right", style="cyan", no_wrap=True)
    table.add_column("text", overflow="fold")
    for row, reward in zip(rows, rewards, strict=True):
        shown = reward if isinstance(reward, list) else [reward]
        table.add_row(", ".join(f"{value:.4f}" for value in shown), row.text)
    return table
