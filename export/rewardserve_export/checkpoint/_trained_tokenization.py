"""How the training turned text into tokens, where it wrote that down: `reward_contract.json` beside the weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rewardserve._contract import Tokenization
from rewardserve._errors import CheckpointError

from rewardserve_export.checkpoint._json import read_object

__all__ = ["TOKENIZATION_FILE", "read_trained_tokenization", "write_trained_tokenization"]

TOKENIZATION_FILE = "reward_contract.json"
_FORMAT = 1


def write_trained_tokenization(directory: Path, tokenization: Tokenization) -> None:
    """Writes the rules that a reward model was trained with beside its weights."""
    document = {"format": _FORMAT, "tokenization": dataclasses.asdict(tokenization)}
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (directory / TOKENIZATION_FILE).write_text(text + "\n", encoding="utf-8")


def read_trained_tokenization(directory: Path) -> Tokenization | None:
    """Reads what `write_trained_tokenization` wrote; None where there is no such file.

    Raises:
        CheckpointError: It can't be read, or another generation of rewardserve wrote it.
    """
    file = directory / TOKENIZATION_FILE
    if not file.is_file():
        return None
    try:
        document = read_object(file)
        if document["format"] != _FORMAT:
            raise CheckpointError(
                f"{file} has format {document['format']}, this version reads format {_FORMAT}. "
                "Remedy: use the rewardserve version that trained it"
            )
        return Tokenization(**document["tokenization"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} can't be read ({error!r}). Remedy: copy the checkpoint again; or remove the file and say how the "
            "training tokenized (--tokenization)"
        ) from error
