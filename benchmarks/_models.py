"""The models that are served: a small Llama with random weights, and any checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["PEERS_LLAMA", "Model", "save_peers_llama", "save_word_tokenizer"]

PEERS_LLAMA = "peers-llama"
"""Name of the small Llama; the project's figures for other servers were measured with one of its shape."""

_VOCABULARY = 32_000
_CONFIG: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "num_labels": 1,
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint on disk, and what its figures are computed from.

    Attributes:
        name: For reports.
        directory: The checkpoint; what is made of it is kept beside, in directories that begin with its name.
        word_tokens: Whether any ids, written as words, are tokenized to the same ids.
    """

    name: str
    directory: Path
    word_tokens: bool

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its `config.json`."""
        config: dict[str, Any] = json.loads((self.directory / "config.json").read_text())
        return config

    @property
    def vocab_size(self) -> int:
        """Token ids are 0 to vocab_size - 1."""
        return int(self.config["vocab_size"])

    def beside(self, name: str) -> Path:
        """Where something made of this checkpoint is kept."""
        return self.directory.with_name(f"{self.directory.name}-{name}")

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """[inputs, outputs] of every linear layer of the backbone."""
        return tuple((shape[1], shape[0]) for name, shape in self._tensors.items() if _is_linear(name, shape))

    @cached_property
    def parameters(self) -> int:
        """Weights without the embedding; a token costs two floating-point operations for each."""
        return sum(_product(shape) for name, shape in self._tensors.items() if "embed_tokens" not in name)

    @cached_property
    def _tensors(self) -> dict[str, list[int]]:
        from safetensors import safe_open

        shapes: dict[str, list[int]] = {}
        for file in sorted(self.directory.glob("*.safetensors")):
            with safe_open(file, framework="np") as tensors:
                shapes.update({name: tensors.get_slice(name).get_shape() for name in tensors.keys()})  # noqa: SIM118
        return shapes


def save_peers_llama(directory: Path, **sizes: int) -> Path:
    """Makes the small Llama: weights that bfloat16 holds exactly, and one token for each word `w0`, `w1`, ….

    Args:
        directory: Where it goes; one that is there is kept.
        **sizes: Of its configuration, for a model of another size.
    """
    if (directory / "model.safetensors").is_file():
        return directory
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(**{**_CONFIG, **sizes})
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=config.hidden_size**-0.5)  # rewards with a spread of about 1
    save_word_tokenizer(directory)
    model.bfloat16().save_pretrained(directory)
    return directory


def save_word_tokenizer(directory: Path) -> None:
    """A tokenizer of 32,000 ids: one for each word `w3`, `w4`, …, behind `<s>`, `</s>` and `<pad>`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<pad>"]
    words = {word: index for index, word in enumerate([*special, *(f"w{i}" for i in range(len(special), _VOCABULARY))])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=2048
    ).save_pretrained(directory)


def _is_linear(name: str, shape: list[int]) -> bool:
    return len(shape) == 2 and min(shape) > 1 and "embed" not in name


def _product(shape: list[int]) -> int:
    return shape[0] * _product(shape[1:]) if shape else 1
