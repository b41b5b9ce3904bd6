"""How each trainer turned text into tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

from rewardserve._contract import Tokenization
from rewardserve._errors import CheckpointError

from rewardserve_export._options import DEFAULT_MAX_LENGTH, TokenizationPreset, Truncation
from rewardserve_export.checkpoint import TOKENIZATION_FILE, Checkpoint

__all__ = ["default_max_length", "tokenization_of"]


def tokenization_of(
    checkpoint: Checkpoint, max_length: int, truncation: Truncation, preset: TokenizationPreset = "auto"
) -> Tokenization:
    """The way of a trainer.

    * plain: the tokenizer as it is, as `*ForSequenceClassification` is used with transformers.
    * openrlhf (`RewardDataset`): newlines at the end removed, EOS appended as text behind a space where missing, no
      special tokens added, and the last id forced to EOS, also after truncation. Conversations too: OpenRLHF renders
      them first, and then treats them as any text.
    * trl (`RewardTrainer`): EOS appended where missing, then the tokenizer as it is, with its special tokens.
      Conversations get nothing but what their template writes.

    `auto` is what the training wrote down beside the weights (`rewardserve train` does), where it did.

    All of them join a prompt and its response without anything between, and render conversations by the chat template
    without a generation prompt.

    Args:
        checkpoint: With its tokenizer.
        max_length: Tokens of one sequence.
        truncation: What the client does with longer texts.
        preset: The trainer; `auto` is the checkpoint's own rules, else openrlhf for OpenRLHF's, else plain.

    Raises:
        CheckpointError: The trainer's way needs an EOS token, and the tokenizer has none; or the tokenizer isn't the
            one that the checkpoint's own rules name.
    """
    tokenizer = checkpoint.tokenizer
    if preset == "auto" and checkpoint.trained_tokenization is not None:
        trained = _checked(checkpoint, checkpoint.trained_tokenization)
        return dataclasses.replace(trained, max_length=max_length, truncation=truncation)
    if preset == "auto":
        preset = "openrlhf" if checkpoint.format.name.startswith("OpenRLHF") else "plain"
    rules = _rules(checkpoint, preset)
    return Tokenization(
        tokenizer_sha256=tokenizer.sha256,
        adds_bos=tokenizer.adds_bos and rules.get("add_special_tokens", True),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        chat_template=tokenizer.chat_template,
        template_tokens=tokenizer.template_tokens if tokenizer.chat_template is not None else {},
        max_length=max_length,
        truncation=truncation,
        **rules,
    )


def default_max_length(checkpoint: Checkpoint) -> int:
    """Tokens of the longest sequence, unless told otherwise: those of the training, where it wrote them down."""
    trained = checkpoint.trained_tokenization
    bounds = [checkpoint.positions, trained.max_length if trained else DEFAULT_MAX_LENGTH]
    return min(bound for bound in bounds if bound is not None)


def _checked(checkpoint: Checkpoint, trained: Tokenization) -> Tokenization:
    if trained.tokenizer_sha256 != checkpoint.tokenizer.sha256:
        raise CheckpointError(
            f"{checkpoint.directory} was trained with the tokenizer of sha256 {trained.tokenizer_sha256} (its "
            f"{TOKENIZATION_FILE} says), and the one beside it has {checkpoint.tokenizer.sha256}. "
            "Remedy: copy the checkpoint again, whole"
        )
    return trained


def _rules(checkpoint: Checkpoint, preset: TokenizationPreset) -> dict[str, Any]:
    tokenizer = checkpoint.tokenizer
    if preset == "plain":
        return {}
    if tokenizer.eos_token is None or tokenizer.eos_id is None:
        trainer = "OpenRLHF" if preset == "openrlhf" else "TRL"
        raise CheckpointError(
            f"{checkpoint.directory} was trained with {trainer}, which scores the EOS token, but its tokenizer has "
            "none. Remedy: save the tokenizer that the training used"
        )
    if preset == "trl":
        return {"eos_suffix": tokenizer.eos_token}
    return {
        "add_special_tokens": False,
        "strip_newlines": True,
        "eos_suffix": f" {tokenizer.eos_token}",
        "forced_last_id": tokenizer.eos_id,
        "chat_as_text": True,
    }
