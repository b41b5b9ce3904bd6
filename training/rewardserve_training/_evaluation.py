"""The trained model's rewards of the evaluation set, in float32, on as many devices as the training ran on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from rewardserve_evaluation import Accuracy, LengthBias, ScoredPreference, measure_accuracy, measure_length_bias
from torch import nn

from rewardserve_training._pairs import TokenPair

__all__ = ["EVALUATION_FILE", "PairRewards", "TrainEvaluation", "evaluate_pairs", "write_evaluation"]

EVALUATION_FILE = "evaluation.jsonl"
_SMALLEST_STD = 1e-8


@dataclass(frozen=True, kw_only=True)
class PairRewards:
    """One pair's rewards, as the head gives them: not normalised."""

    pair: TokenPair
    chosen: float
    rejected: float

    @property
    def scored(self) -> ScoredPreference:
        """The pair as `rewardserve_evaluation` measures it."""
        return ScoredPreference(preference=self.pair.preference, chosen=(self.chosen,), rejected=(self.rejected,))


@dataclass(frozen=True, kw_only=True)
class TrainEvaluation:
    """What the trained model makes of the evaluation set.

    Attributes:
        rewards: Of each pair.
        accuracy: Over the pairs.
        mean: Of all rewards, chosen and rejected.
        std: Their standard deviation.
        length_bias: What the rewards have to do with lengths, in tokens.
    """

    rewards: list[PairRewards]
    accuracy: Accuracy
    length_bias: LengthBias
    mean: float
    std: float


def evaluate_pairs(model: nn.Module, accelerator: Any, pairs: Sequence[TokenPair], batch_size: int) -> TrainEvaluation:
    """Scores pairs in eval mode, in which the model computes in float32.

    Args:
        model: As the trainer runs it; sharded ones need all processes here.
        accelerator: The trainer's.
        pairs: The evaluation set, at least one.
        batch_size: Sequences of one forward pass.
    """
    sequences = [ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    values = _score(model, accelerator, sequences, batch_size)
    rewards = [
        PairRewards(pair=pair, chosen=chosen, rejected=rejected)
        for pair, chosen, rejected in zip(pairs, values[0::2], values[1::2], strict=True)
    ]
    return TrainEvaluation(
        rewards=rewards,
        accuracy=measure_accuracy([each.scored for each in rewards]),
        length_bias=_length_bias(rewards),
        mean=float(np.mean(values)),
        std=max(float(np.std(values, ddof=1)), _SMALLEST_STD),
    )


def _length_bias(rewards: Sequence[PairRewards]) -> LengthBias:
    return measure_length_bias(
        np.array([each.chosen for each in rewards]),
        np.array([each.rejected for each in rewards]),
        np.array([len(each.pair.chosen_ids) for each in rewards], dtype=float),
        np.array([len(each.pair.rejected_ids) for each in rewards], dtype=float),
    )


def _score(model: nn.Module, accelerator: Any, sequences: Sequence[list[int]], batch_size: int) -> list[float]:
    """Each process takes every n-th batch, the longest first; all run equally many, for models that are sharded."""
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    rounds = math.ceil(len(batches) / accelerator.num_processes)
    found: list[tuple[int, float]] = []
    model.eval()
    for number in range(rounds):
        position = number * accelerator.num_processes + accelerator.process_index
        batch = batches[min(position, len(batches) - 1)]
        rows = _rewards(model, [sequences[index] for index in batch], accelerator.device)
        found += zip(batch, rows, strict=True)
    rewards = dict(gather_object(found))
    return [rewards[index] for index in range(len(sequences))]


def _rewards(model: nn.Module, batch: Sequence[list[int]], device: torch.device) -> list[float]:
    width = max(map(len, batch))
    # Any id will do behind what is scored: the model is causal.
    input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in batch], device=device)
    lengths = torch.tensor([len(ids) for ids in batch], device=device)
    mask = (torch.arange(width, device=device) < lengths[:, None]).long()
    with torch.no_grad():
        rewards: list[float] = model(input_ids=input_ids, attention_mask=mask).logits[:, 0].tolist()
    return rewards


def write_evaluation(directory: Path, evaluation: TrainEvaluation, *, normalize: bool) -> None:
    """One line a pair: where it is from, the rewards that the saved model gives, and its lengths in tokens.

    Args:
        directory: The checkpoint's.
        evaluation: To write.
        normalize: Whether the saved model's rewards are normalised.
    """
    mean, std = (evaluation.mean, evaluation.std) if normalize else (0.0, 1.0)
    with (directory / EVALUATION_FILE).open("w", encoding="utf-8") as file:
        for each in evaluation.rewards:
            row = {
                "line": each.pair.preference.line,
                "subset": each.pair.preference.subset,
                "chosen_reward": (each.chosen - mean) / std,
                "rejected_reward": (each.rejected - mean) / std,
                "chosen_tokens": len(each.pair.chosen_ids),
                "rejected_tokens": len(each.pair.rejected_ids),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
