"""The tokenizer that a checkpoint was trained with, as one `tokenizer.json`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._errors import CheckpointError
from rewardserve._tokenizer_guard import check_growth, panics_as_errors

__all__ = ["CheckpointTokenizer", "has_tokenizer", "read_tokenizer"]

_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class CheckpointTokenizer:
    """A tokenizer and what it adds to a text.

    Attributes:
        content: Of the `tokenizer.json` to export.
        size: Number of tokens it knows.
        bos_token: Text of BOS, or None.
        eos_token: Text of EOS, or None.
        eos_id: Id of EOS, or None.
        adds_bos: Whether it puts BOS before a text.
        adds_eos: Whether it puts EOS behind a text.
        chat_template: The one named `default` where there are several; None if there is none.
        template_tokens: Special tokens besides BOS and EOS, by the name that a chat template gives them.
    """

    content: bytes
    size: int
    bos_token: str | None
    eos_token: str | None
    eos_id: int | None
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None
    template_tokens: dict[str, str]

    @property
    def sha256(self) -> str:
        """Of the exported file."""
        return hashlib.sha256(self.content).hexdigest()


def has_tokenizer(directory: Path) -> bool:
    """Whether a tokenizer was saved in a directory."""
    return any((directory / name).is_file() for name in _FILES)


def read_tokenizer(directory: Path) -> CheckpointTokenizer:
    """Reads a checkpoint's tokenizer the way transformers does.

    Raises:
        CheckpointError: There is none, or none that the tokenizers library can run.
    """
    from transformers import AutoTokenizer

    try:
        with panics_as_errors():
            if (file := directory / "tokenizer.json").is_file():
                check_growth(file.read_bytes())
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            ids = tokenizer("a").input_ids
    except Exception as error:  # transformers raises many classes here, and ImportError for missing converters
        raise CheckpointError(
            f"{directory} has no tokenizer that can be read ({error}). Remedy: save the tokenizer beside the weights"
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(
            f"{type(tokenizer).__name__} has no fast implementation. Remedy: save a tokenizer.json beside the weights"
        )
    templates = tokenizer.chat_template
    return CheckpointTokenizer(
        content=_content(directory / "tokenizer.json", backend),
        size=len(tokenizer),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        eos_id=tokenizer.eos_token_id,
        adds_bos=tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id],
        adds_eos=tokenizer.eos_token_id is not None and ids[-1:] == [tokenizer.eos_token_id],
        chat_template=templates.get("default") if isinstance(templates, dict) else templates,
        template_tokens={
            name: token
            for name, token in tokenizer.special_tokens_map.items()
            if name not in ("bos_token", "eos_token") and isinstance(token, str)
        },
    )


def _content(file: Path, backend: Any) -> bytes:
    """The checkpoint's own file where it says the same as the loaded tokenizer.

    transformers may change the post-processor while loading (`add_bos_token` in tokenizer_config.json): then what it
    made is exported. Else the file is kept to the byte, so that a client may be given the checkpoint's own.
    """
    from tokenizers import Tokenizer

    effective: str = backend.to_str(pretty=True)
    if file.is_file() and Tokenizer.from_file(str(file)).to_str(pretty=True) == effective:
        return file.read_bytes()
    return effective.encode()
