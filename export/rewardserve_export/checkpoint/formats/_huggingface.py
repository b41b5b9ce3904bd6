"""transformers' `*ForSequenceClassification`: one output for each label.

Causal backbones have a linear head `score`, encoders a `classifier` of one or several layers. rewardserve's training
writes OpenRLHF's `normalize_reward`, `mean` and `std` into config.json, which transformers doesn't mind.
"""

from __future__ import annotations

from rewardserve_export.checkpoint._files import CheckpointFiles
from rewardserve_export.checkpoint._value_head import HeadLocation, find_head
from rewardserve_export.checkpoint.formats._format import (
    CheckpointFormat,
    Contents,
    find_classifier,
    label_names,
    normalization_of,
)

__all__ = ["HUGGING_FACE"]


def _matches(files: CheckpointFiles) -> bool:
    classifies = any(name.endswith("ForSequenceClassification") for name in files.architectures)
    return classifies and bool(files.weights.files)


def _read(files: CheckpointFiles) -> Contents:
    names = label_names(files.config)
    labels = names if len(names) > 1 else None
    weight = find_classifier(files.weights)
    if weight and files.value_head_prefix in {None, weight.removesuffix(".weight")}:
        bias = weight.removesuffix("weight") + "bias"
        head = HeadLocation(weight=weight, bias=bias if bias in files.weights.tensors else None, store=files.weights)
        return Contents(head=head, labels=labels, encoder=True)
    normalization = None if labels else normalization_of(files.config)
    return Contents(head=find_head(files, files.weights, ["score"]), labels=labels, normalization=normalization)


HUGGING_FACE = CheckpointFormat(name="Hugging Face sequence classification", matches=_matches, read=_read)
