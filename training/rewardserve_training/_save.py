"""The trained model on disk: weights, config and rules that `export` reads without a flag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardserve import Tokenization
from rewardserve_export.checkpoint import quiet, write_trained_tokenization
from torch import Tensor
from transformers import PreTrainedModel

from rewardserve_training._evaluation import TrainEvaluation
from rewardserve_training._options import SaveFormat

__all__ = ["save_model"]


def save_model(
    directory: Path,
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    tokenizer: Any,
    rules: Tokenization,
    *,
    save_format: SaveFormat,
    normalize: bool,
    evaluation: TrainEvaluation | None,
) -> None:
    """Writes a checkpoint.

    The weights come last: if they were there before config and rules, a run that ends in between would leave a
    checkpoint that exports with other rules than it was trained with.

    Args:
        directory: Where to.
        model: For its configuration and class.
        weights: Its state dict, whole, on any device.
        tokenizer: As the training used it.
        rules: How text became tokens.
        save_format: `openrlhf` has the same tensors as `hf`, and what OpenRLHF's loader reads in config.json.
        normalize: Whether rewards are normalised when they are served.
        evaluation: Gives `mean` and `std`.
    """
    extra: dict[str, Any] = {"normalize_reward": normalize}
    if evaluation is not None:
        extra |= {"mean": evaluation.mean, "std": evaluation.std}
    if save_format == "openrlhf":
        extra |= {"architectures": ["RewardModel"], "value_head_prefix": "score"}
    staged = directory / ".saving"
    with quiet():
        model.save_pretrained(staged, state_dict=dict(weights))
    tokenizer.save_pretrained(staged)
    write_trained_tokenization(staged, rules)
    file = staged / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | extra
    file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in sorted(staged.iterdir(), key=lambda path: path.name.startswith("model")):
        path.replace(directory / path.name)
    staged.rmdir()
