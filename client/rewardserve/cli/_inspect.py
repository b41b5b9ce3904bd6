"""`rewardserve inspect`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rewardserve.cli._checkpoint_options import Base, CheckpointName, ValueHeadPrefix
from rewardserve.cli._console import details, stdout
from rewardserve.cli._extras import require
from rewardserve.cli._scored_text import scored_text

if TYPE_CHECKING:
    from rewardserve_export import CheckpointReport

__all__ = ["inspect"]


def inspect(
    checkpoint: CheckpointName,
    base: Base = None,
    value_head_prefix: ValueHeadPrefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say what a checkpoint holds: format, backbone, value head, normalisation, tokenizer.

    Reads headers only, so it is quick for any size. A checkpoint without a trained value head is reported as such.
    """
    package = require("rewardserve_export", "export")
    report = package.inspect_checkpoint(checkpoint, base=base, value_head_prefix=value_head_prefix)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(report), default=str, indent=2))
    else:
        stdout().print(_table(report))


def _table(report: CheckpointReport) -> Table:
    tokenizer, normalization = report.tokenizer, report.normalization
    dtypes = ", ".join(f"{name} ({count} tensors)" for name, count in report.dtypes.items())
    head = Text("untrained: the checkpoint holds none", "bold red")
    if report.head:
        head = Text(f"{report.head} in {report.head_file}", "green")
    rows: dict[str, str | Text] = {
        "format": report.format,
        "architecture": f"{report.architecture} (model type {report.model_type}, hidden size {report.hidden_size})",
        "parameters": f"{report.parameters:,}",
        "data type": dtypes,
        "positions": f"{report.max_position_embeddings:,}" if report.max_position_embeddings else "unbounded",
        "value head": head,
        "normalisation": f"(reward - {normalization.mean:g}) / {normalization.std:g}" if normalization else "none",
        "tokenizer": f"{tokenizer.size:,} tokens, sha256 {tokenizer.sha256}",
        "BOS": _special(tokenizer.bos_token, tokenizer.adds_bos, "before"),
        "EOS": _special(tokenizer.eos_token, tokenizer.adds_eos, "behind"),
    }
    trained = report.trained_tokenization
    optional = {
        "trained with": f"{scored_text(trained)}; up to {trained.max_length:,} tokens" if trained else None,
        "labels": ", ".join(report.labels) if report.labels else None,
        "adapter": report.adapter,
        "base": report.base,
    }
    rows |= {name: str(value) for name, value in optional.items() if value is not None}
    return details(str(report.path), rows)


def _special(token: str | None, added: bool, where: str) -> str:
    if token is None:
        return "none"
    return f"{token!r}, " + (f"put {where} every text by the tokenizer" if added else "not added by the tokenizer")
