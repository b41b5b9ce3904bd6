"""JSON files of a checkpoint, whoever made them: bounded in size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rewardserve._errors import CheckpointError

__all__ = ["check_sizes", "read_object"]

_MAX_BYTES = 64 << 20
"""Twice the largest tokenizer.json that is known, and far more than any other such file."""

_READ_BY_TRANSFORMERS = (
    "*config.json",
    "*.index.json",
    "*token*.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template.*",
    "additional_chat_templates/*",
)


def read_object(file: Path) -> dict[str, Any]:
    """Reads one JSON object.

    Raises:
        CheckpointError: It isn't there, is no plain file, is too large, or isn't a JSON object.
    """
    if not file.is_file():  # opening a FIFO would wait for its writer
        raise CheckpointError(f"{file.parent} has no {file.name}. Remedy: pass a checkpoint's directory, copied whole")
    _check_size(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error}). Remedy: copy the checkpoint again") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} isn't JSON ({error}). Remedy: copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} isn't a JSON object. Remedy: copy the checkpoint again")
    return content


def check_sizes(directory: Path) -> None:
    """Checks the files that transformers reads whole, before it does.

    Raises:
        CheckpointError: One is too large.
    """
    for pattern in _READ_BY_TRANSFORMERS:
        for file in directory.glob(pattern):
            if file.is_file():
                _check_size(file)


def _check_size(file: Path) -> None:
    if (size := file.stat().st_size) > _MAX_BYTES:
        raise CheckpointError(
            f"{file} has {size:,} bytes, more than {_MAX_BYTES:,}: no configuration or tokenizer has. "
            "Remedy: don't use this checkpoint"
        )
