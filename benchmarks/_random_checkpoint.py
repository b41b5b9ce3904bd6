"""A random reward model of any size, made in the memory of one of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["save_random_llama"]

_SHARD = 500 << 20
"""Bytes of a file."""

_CONFIG: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 65536,
    "max_position_embeddings": 4096,
    "num_labels": 1,
    "dtype": "bfloat16",
    "architectures": ["LlamaForSequenceClassification"],
}


def save_random_llama(directory: Path) -> int:
    """Writes a bfloat16 `LlamaForSequenceClassification` in several safetensors files; returns its parameters."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(**_CONFIG)
    config.save_pretrained(directory)
    _save_tokenizer(directory)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForSequenceClassification(config).state_dict().items()}
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(_shards(shapes), 1):
        name = f"model-{number:05}.safetensors"
        save_file(shard, directory / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, name)
        with (directory / name).open("rb") as file:
            os.fsync(file.fileno())  # before anything is measured
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum(shape.numel() for shape in shapes.values())


def _shards(shapes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    shard: dict[str, Any] = {}
    for name, shape in shapes.items():
        # Norms are one, other weights as small as transformers makes them.
        tensor = torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) * 0.02
        shard[name] = tensor.bfloat16()
        if sum(part.nbytes for part in shard.values()) > _SHARD:
            yield shard
            shard = {}
    yield shard


def _save_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    tokenizer.save_pretrained(directory)
