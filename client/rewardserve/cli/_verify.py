"""`rewardserve verify`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve._session import DEFAULT_TIMEOUT
from rewardserve.cli._checkpoint_options import Base, CheckpointName, Tokenization, TokenizationOption, ValueHeadPrefix
from rewardserve.cli._console import progress_bar, stdout
from rewardserve.cli._extras import require
from rewardserve.cli._jsonl import read_texts
from rewardserve.cli._server_options import Server, Timeout, takes_server

if TYPE_CHECKING:
    from rewardserve_export import Verification

__all__ = ["verify"]


@takes_server
def verify(
    checkpoint: CheckpointName,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE", help="JSONL file of objects with a `text`. [default: six texts of ours]"
        ),
    ] = None,
    *,
    server: Server,
    timeout: Timeout = DEFAULT_TIMEOUT,
    tokenization: TokenizationOption = Tokenization.auto,
    base: Base = None,
    value_head_prefix: ValueHeadPrefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare a running server with a checkpoint, and say which part disagrees.

    Tokenizer, token ids, source files, normalisation, and the rewards of the same tokens, computed with transformers
    one text at a time. Ends with exit code 1 if any of them disagrees.
    """
    package = require("rewardserve_export", "export")
    texts = read_texts(input_file) if input_file else list(package.DEFAULT_TEXTS)
    client = RewardClient(**server.client_arguments(), timeout=timeout)
    with client, progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("scoring with transformers", total=len(texts))
        found = package.verify(
            checkpoint,
            client,
            texts,
            base=base,
            value_head_prefix=value_head_prefix,
            tokenization=tokenization.value,
            progress=lambda: progress.advance(task),
        )
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(found), "agrees": found.agrees}, indent=2))
    else:
        stdout().print(_table(found, server.model_name, checkpoint))
    if not found.agrees:
        raise typer.Exit(1)


def _table(found: Verification, model: str, checkpoint: str) -> Table:
    table = Table(title=f"served {model} against {checkpoint}, {found.texts} texts", title_justify="left")
    table.add_column("part", style="cyan", no_wrap=True)
    table.add_column("agrees", justify="center")
    table.add_column("what was found", overflow="fold")
    for check in found.checks:
        mark = Text("yes", "green") if check.agrees else Text("NO", "bold red")
        table.add_row(check.part, mark, check.detail)
    return table
