"""A served model that costs nothing: a real export, in whose place a backend answers that computes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import no_op_backend
from benchmarks._graphs import newest_version
from benchmarks._setup import MODEL

__all__ = ["no_op_repository"]

_POSITIONS = 8192


def no_op_repository(checkpoint: Path, scratch: Path) -> Path:
    """Exports a tiny random Llama that has a checkpoint's tokenizer, and replaces the export's `model.py`.

    Args:
        checkpoint: Has the tokenizer.
        scratch: A directory for the files.

    Returns:
        The model repository.
    """
    from rewardserve_export import ExportOptions, export

    options = ExportOptions(repository=scratch / "repository", name=MODEL)
    export(_tiny_llama(checkpoint, scratch / "checkpoint"), options)
    backend = Path(no_op_backend.__file__).with_name("model.py")
    shutil.copyfile(backend, newest_version(options.repository) / backend.name)
    return options.repository


def _tiny_llama(checkpoint: Path, directory: Path) -> Path:
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=Tokenizer.from_file(str(checkpoint / "tokenizer.json")).get_vocab_size(),
        max_position_embeddings=_POSITIONS,
        pad_token_id=0,
        id2label={0: "reward"},
    )
    LlamaForSequenceClassification(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, directory / name)
    return directory
