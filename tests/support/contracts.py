"""Reward contracts without an export."""

from __future__ import annotations

import dataclasses
from typing import Any

from rewardserve import Parity, RewardContract, Tokenization

from support.checkpoints import VOCABULARY

SHA256 = "0" * 64


def make_contract(**changes: Any) -> RewardContract:
    """A small contract; keyword arguments are the tokenization's fields, or the contract's."""
    tokenization = {name: changes.pop(name) for name in tuple(changes) if name in Tokenization.__dataclass_fields__}
    fields: dict[str, Any] = {
        "tokenization": Tokenization(**{"tokenizer_sha256": SHA256, "max_length": 8, **tokenization}),
        "vocab_size": VOCABULARY,
        "max_request_tokens": 1200,
        "max_batch_tokens": 1200,
        "normalization": None,
        "precision": "fp32",
        "graph": "onnx",
        "architecture": "LlamaForSequenceClassification",
        "source_digest": SHA256,
        "parity": Parity(sequences=2, largest_difference=1e-7, batch_deviation=0.0),
    }
    return RewardContract(**{**fields, **changes})


def pretended(contract: RewardContract, **changes: Any) -> RewardContract:
    """A served model's contract with other fields and its own identity, so that a client takes its answers."""
    changed = dataclasses.replace(contract, **changes)
    vars(changed)["identity"] = contract.identity
    return changed
