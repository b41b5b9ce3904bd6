"""Arguments and options that several commands share: which checkpoint, and how to read it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Base", "CheckpointName", "Tokenization", "TokenizationOption", "ValueHeadPrefix"]


class Tokenization(StrEnum):
    """How a trainer turned text into tokens."""

    auto = "auto"
    plain = "plain"
    openrlhf = "openrlhf"
    trl = "trl"


CheckpointName = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="Directory of the checkpoint, or its name on the Hugging Face Hub.")
]
Base = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="For an adapter: the model it was trained on. [default: the one it names]"),
]
ValueHeadPrefix = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the value head's tensors, without `.weight`. [default: its format's]"),
]
TokenizationOption = Annotated[
    Tokenization,
    typer.Option(
        metavar="PRESET",
        help="How the trainer turned text into tokens: `plain` (the tokenizer as it is), `openrlhf` or `trl`; "
        "`auto` goes by what the training wrote down, else by the checkpoint's format.",
    ),
]
