"""One interface for everything that scores sequences, and one helper that compares any two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rewardserve import _wire
from rewardserve._errors import ParityError
from rewardserve._packing import PackedRequest

from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph import EAGER_ATTENTION, GraphLimits, PackedRewardModel, Precision, attention, in_precision

__all__ = [
    "Composition",
    "Difference",
    "Rewards",
    "Runner",
    "Scorer",
    "Tokens",
    "compare",
    "difference",
    "eager_runner",
    "packed_scorer",
    "reduced_scorer",
    "transformers_scorer",
]

Tokens = npt.NDArray[np.int32]
Rewards = npt.NDArray[np.float32]
Scorer = Callable[[Sequence[Tokens]], Rewards]
"""Token ids of n sequences -> float32 [n], or [n, K] with K labels. `RewardClient.score_tokens` is one too."""

Runner = Callable[[dict[str, npt.NDArray[np.int32]]], tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]]
"""The graph's inputs for one batch -> (rewards [N], fingerprints [N])."""

Composition = Callable[[Sequence[Tokens]], list[list[PackedRequest]]]
"""Sequences -> batches of packed requests that hold them all."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two scorers are apart.

    Attributes:
        largest: Largest absolute difference of a reward.
        index: Of the sequence where it occurs.
        scale: Largest absolute reward of the reference.
    """

    largest: float
    index: int
    scale: float


def compare(reference: Scorer, candidate: Scorer, sequences: Sequence[Tokens]) -> Difference:
    """Scores the same sequences with two scorers."""
    return difference(reference(sequences), candidate(sequences))


def difference(expected: Rewards, actual: Rewards) -> Difference:
    """How far rewards are from those expected, [n] or [n, K]; NaN anywhere counts as an infinite difference."""
    with np.errstate(invalid="ignore"):  # infinity on both sides
        gaps = np.nan_to_num(np.abs(actual.astype(np.float64) - expected), nan=np.inf, posinf=np.inf)
    index = int(gaps.reshape(len(gaps), -1).max(axis=1).argmax())
    return Difference(largest=float(gaps[index].max()), index=index, scale=float(np.abs(expected).max()))


def transformers_scorer(model: RewardModel, progress: Callable[[], None] = lambda: None) -> Scorer:
    """Transformers as it is, one sequence at a time, unpadded: the reference.

    Args:
        model: In the precision to compare with.
        progress: Called after every sequence.
    """

    def score(sequences: Sequence[Tokens]) -> npt.NDArray[np.float32]:
        rewards = []
        for tokens in sequences:
            with torch.inference_mode():
                rewards.append(model(torch.from_numpy(tokens.astype(np.int64))[None])[0].numpy())
            progress()
        return np.stack(rewards)

    return score


def reduced_scorer(model: RewardModel, precision: Precision, progress: Callable[[], None] = lambda: None) -> Scorer:
    """The same in a reduced precision: how far that alone moves the rewards.

    Args:
        model: In float32.
        precision: For the time of a call.
        progress: Called after every sequence.
    """
    scorer = transformers_scorer(model, progress)

    def score(sequences: Sequence[Tokens]) -> Rewards:
        with in_precision(model.backbone, precision):
            return scorer(sequences)

    return score


def packed_scorer(run: Runner, compose: Composition, identity: int = 0) -> Scorer:
    """A packed graph, its sequences composed into batches in a certain way.

    The scorer raises a ParityError where the graph's fingerprints aren't those of the sequences.

    Args:
        run: Runs the graph.
        compose: Makes the batches.
        identity: That the graph was traced with.
    """

    def score(sequences: Sequence[Tokens]) -> npt.NDArray[np.float32]:
        rewards: dict[int, Rewards] = {}
        for batch in compose(sequences):
            values, marks = run(_wire.graph_inputs([(request.input_ids, request.segments) for request in batch]))
            expected = _wire.identified(np.concatenate([request.fingerprints for request in batch]), identity)
            if not np.array_equal(marks, expected):
                raise ParityError("the graph's fingerprints aren't those of the tokens it was given")
            ends = np.cumsum([len(request.segments) for request in batch])[:-1]
            for request, answered in zip(batch, np.split(values, ends), strict=True):
                rewards.update(zip(request.items.tolist(), answered[request.ends], strict=True))
        return np.stack([rewards[index] for index in range(len(sequences))])

    return score


def eager_runner(model: RewardModel, limits: GraphLimits) -> Runner:
    """The packed model in PyTorch, as it is traced."""
    packed = PackedRewardModel(model, limits)

    def run(
        inputs: dict[str, npt.NDArray[np.int32]],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        names = (_wire.INPUT_IDS, _wire.SEGMENTS, _wire.REQUEST_TOKENS, _wire.REQUEST_SEGMENTS)
        implementation = nullcontext() if limits.padded else attention(model.backbone, EAGER_ATTENTION)
        with implementation, torch.inference_mode():
            rewards, fingerprints, *_ = packed(*(torch.from_numpy(inputs[name]) for name in names))
        return rewards.numpy(), fingerprints.numpy()

    return run
