"""Small, real checkpoints with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 400
POSITIONS = 1024


def save_tokenizer(directory: Path, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text has tokens, and few merges make many of them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - 10,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the reward of a good answer is higher than that of a bad one"] * 4, trainer)
    if bos:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(directory)
    return fast


def llama_config(**changes: Any) -> LlamaConfig:
    """Grouped-query attention, two layers."""
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "num_labels": 1,
    }
    return LlamaConfig(**{**settings, **changes})


def save_huggingface(
    directory: Path, model: PreTrainedModel | None = None, *, bos: bool = False, **options: Any
) -> Path:
    """A `*ForSequenceClassification` checkpoint, as `save_pretrained` writes it; pad = eos, the classic trap."""
    if model is None:
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(llama_config())
        torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(directory, **options)
    save_tokenizer(directory, bos=bos)
    return directory


def save_openrlhf(directory: Path, *, head: str = "score", **config: Any) -> Path:
    """The same weights as `save_huggingface`, in OpenRLHF's format."""
    save_huggingface(directory)
    edit_tensors(directory, {"score.weight": f"{head}.weight"})
    edit_config(directory, architectures=["RewardModel"], value_head_prefix=head, **config)
    return directory


def edit_config(directory: Path, **changes: Any) -> None:
    """Changes config.json; None removes a key."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_tensors(directory: Path, renamed: dict[str, str | None], added: dict[str, torch.Tensor] | None = None) -> None:
    """Renames tensors in model.safetensors, None removes one; adds others."""
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    tensors = {renamed.get(key, key): tensor for key, tensor in load_file(path).items()}
    tensors.pop(None, None)  # type: ignore[arg-type]
    save_file({**tensors, **(added or {})}, path, metadata={"format": "pt"})  # type: ignore[dict-item]


def edit_tokenizer_config(directory: Path, **changes: Any) -> None:
    """Changes tokenizer_config.json."""
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
