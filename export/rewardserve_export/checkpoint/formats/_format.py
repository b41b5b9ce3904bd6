"""What a format is: how to tell it, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rewardserve._contract import Normalization
from rewardserve._errors import CheckpointError, UnsupportedModelError

from rewardserve_export.checkpoint._files import CheckpointFiles
from rewardserve_export.checkpoint._value_head import HeadLocation
from rewardserve_export.checkpoint._weights import WeightFiles

__all__ = [
    "BaseClass",
    "CheckpointFormat",
    "Contents",
    "default_labels",
    "find_classifier",
    "label_names",
    "normalization_of",
    "refuse_classifier",
]

BaseClass = Literal["causal language model", "sequence classification"]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a format's reader makes of a checkpoint's files.

    Attributes:
        head: Where the value head is.
        labels: Names of the outputs that the head should have, in order; None for one output.
        normalization: Of the rewards, or None.
        backbone_prefix: What the trainer put before transformers' own keys.
        encoder: Whether the head is an encoder's: several layers on the first token, as transformers' class has them.
        base_class: What the base is while an adapter is merged into it: its modules must have the names they had in
            training.
    """

    head: HeadLocation
    labels: tuple[str, ...] | None = None
    normalization: Normalization | None = None
    backbone_prefix: str = ""
    encoder: bool = False
    base_class: BaseClass = "causal language model"


@dataclass(frozen=True, kw_only=True)
class CheckpointFormat:
    """How one family of tools writes reward models.

    Attributes:
        name: As shown to users.
        matches: Whether a checkpoint is of this format.
        read: Reads one that is.
    """

    name: str
    matches: Callable[[CheckpointFiles], bool]
    read: Callable[[CheckpointFiles], Contents]


def label_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of the outputs, by transformers' rule: `id2label`; where it is absent, `num_labels` or two of them."""
    names, count = config.get("id2label"), config.get("num_labels")
    if not names or count not in {None, len(names)}:
        return default_labels(2 if count is None else int(count))
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"id2label in config.json isn't a table from numbers to names ({error}). Remedy: correct it"
        ) from error


def default_labels(count: int) -> tuple[str, ...]:
    """What transformers calls outputs that have no names."""
    return tuple(f"LABEL_{index}" for index in range(count))


def normalization_of(config: dict[str, Any]) -> Normalization | None:
    """(reward - mean) / std, where `normalize_reward` says so; either number may be missing."""
    if not config.get("normalize_reward"):
        return None
    mean, std = (config.get(name, default) for name, default in (("mean", 0.0), ("std", 1.0)))
    usable = all(isinstance(value, int | float) and math.isfinite(value) for value in (mean, std)) and std > 0
    if not usable:
        raise CheckpointError(
            f"config.json asks for normalisation with mean {mean} and std {std}. "
            "Remedy: correct them there, or set normalize_reward to false"
        )
    return Normalization(mean=float(mean), std=float(std))


def find_classifier(store: WeightFiles, prefix: str = "") -> str | None:
    """Key of an encoder's last linear layer: its head is called `classifier`, and reads the first token."""
    names = ("classifier.weight", "classifier.out_proj.weight", "classification_head.out_proj.weight")
    return next((key for name in names if (key := prefix + name) in store.tensors), None)


def refuse_classifier(files: CheckpointFiles, store: WeightFiles, prefix: str) -> None:
    """Refuses adapters of encoders.

    Raises:
        UnsupportedModelError: It is one.
    """
    if key := find_classifier(store, prefix):
        name = ", ".join(files.model.architectures) or files.model.config.get("model_type")
        raise UnsupportedModelError(
            f"{name} keeps its head in {key} ({store.tensors[key].file}): adapters of encoders aren't merged. "
            "Remedy: merge it with peft (merge_and_unload), save the whole model, and export that"
        )
