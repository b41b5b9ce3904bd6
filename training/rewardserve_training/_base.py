"""The model that a training starts from: any reward model or language model, as sequence classification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rewardserve import CheckpointError, UnsupportedModelError
from rewardserve_export.checkpoint import Checkpoint, HeadLocation, load_head, load_reward_model, open_checkpoint
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from rewardserve_training._value_head import Float32Head, scoring_the_last_token

__all__ = ["Base", "load_base", "load_tokenizer", "open_base"]


@dataclass(frozen=True, kw_only=True)
class Base:
    """A model ready to train.

    Attributes:
        model: `*ForSequenceClassification` with one label, float32; its value head is `score`.
        head: Where the value head comes from, in words.
        new_head: Whether it is a new one, untrained.
    """

    model: PreTrainedModel
    head: str
    new_head: bool


def open_base(source: str | Path) -> Checkpoint:
    """Reads what a base holds, without its weights.

    Raises:
        CheckpointError: It can't be read, or its head has several outputs.
        UnsupportedModelError: It is an encoder's classifier.
    """
    checkpoint = open_checkpoint(source, headless=True)
    if checkpoint.contents.encoder:
        raise UnsupportedModelError(
            f"{checkpoint.directory} scores the first token, by an encoder's classifier: only linear heads on the last "
            "token are trained here. Remedy: a causal model; TRL's RewardTrainer itself takes encoders"
        )
    if checkpoint.labels:
        raise CheckpointError(
            f"{checkpoint.directory} has {len(checkpoint.labels)} labels, and preferences train one reward. "
            "Remedy: start from a model with one label, or from the language model"
        )
    return checkpoint


def load_base(checkpoint: Checkpoint, *, init_value_head: bool) -> Base:
    """Loads a base by OpenRLHF's rule: a head that it holds is kept, else there is a new one.

    A new head has no bias, and weights from a normal distribution of standard deviation 1 / (H + 1), OpenRLHF's. A bias
    that the base's head has (TRL's value heads do) is dropped: it shifts all rewards alike, so no preference depends on
    it.

    Args:
        checkpoint: The base, opened.
        init_value_head: Whether its head is replaced by a new one all the same.

    Raises:
        CheckpointError: Weights are missing, surplus, or of the wrong shape.
        UnsupportedModelError: transformers has no sequence classification for it, with a linear head `score`.
    """
    reward_model = load_reward_model(checkpoint)
    backbone = reward_model.backbone
    head = cast(nn.Linear, reward_model.head.get_submodule("linear"))
    new_head = init_value_head or not checkpoint.head.trained
    if new_head:
        head = load_head(HeadLocation(), 1, head.in_features)
    model = _skeleton(backbone)
    setattr(model, model.base_model_prefix, backbone)
    cast(Any, model).score = Float32Head(head)
    if left := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        raise UnsupportedModelError(f"{type(model).__name__} has weights besides backbone and score: {', '.join(left)}")
    model = scoring_the_last_token(model).requires_grad_(True)
    return Base(model=model, head=_describe(checkpoint, new_head), new_head=new_head)


def _skeleton(backbone: PreTrainedModel) -> PreTrainedModel:
    """The class of transformers around this backbone, without memory for weights."""
    config = backbone.config
    config.num_labels = 1
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise UnsupportedModelError(f"transformers has no sequence classification for {config.model_type!r}") from error
    if type(model.base_model) is not type(backbone) or not isinstance(getattr(model, "score", None), nn.Linear):
        raise UnsupportedModelError(
            f"{type(model).__name__} isn't {type(backbone).__name__} with a linear head `score`. "
            "Remedy: another base; docs/training.md says which work"
        )
    config.dtype = torch.float32
    return model


def _describe(checkpoint: Checkpoint, new_head: bool) -> str:
    drawn = "new, drawn at random (standard deviation 1 / (H + 1), as OpenRLHF's)"
    if not new_head:
        bias = "; its bias is dropped, no preference depends on it" if checkpoint.head.bias else ""
        return f"kept: {checkpoint.head}{bias}"
    if checkpoint.head.trained:
        return f"{drawn}, in place of {checkpoint.head}"
    return f"{drawn}: {checkpoint.directory} ({checkpoint.format.name}) holds none"


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The base's tokenizer, with a padding token that no text ends with, where it has one.

    transformers' sequence classification scores the last token that isn't padding: with EOS for padding it would score
    another token than the training did. So BOS or another special token pads instead.
    """
    directory = checkpoint.tokenizer_directory
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    candidates = [tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, *tokenizer.all_special_tokens]
    usable = [token for token in candidates if token is not None and token != tokenizer.eos_token]
    tokenizer.pad_token = usable[0] if usable else tokenizer.eos_token
    return tokenizer
