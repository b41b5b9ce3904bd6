"""What rewards are like at export: what a server's metrics compare those of its traffic with."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rewardserve._contract import Normalization, RewardContract
from rewardserve._core import encode_texts
from rewardserve._errors import ExportError
from rewardserve._packing import pack
from rewardserve._tokenizer import Encoder
from tokenizers import Tokenizer

from rewardserve_export.graph import Precision
from rewardserve_export.parity import Tokens, exported_graph, packed_scorer, rewards_of

__all__ = [
    "RewardReference",
    "reference_of_normalization",
    "reference_of_rewards",
    "reference_tokens",
    "score_reference",
]

_RUN_TOKENS = 2048
"""Of one run here: the memory of an export doesn't grow with the reference."""


@dataclass(frozen=True, kw_only=True)
class RewardReference:
    """The distribution that served rewards are expected to have, in their own units.

    Attributes:
        texts: How many it was measured on; None where it follows from the checkpoint's normalisation.
        mean: Of their rewards.
        std: Their standard deviation, over all of them.
        deciles: What 10 %, 20 %, …, 90 % of them are at most; None where only mean and std are known, or where a
            tenth of them are equal.
    """

    texts: int | None
    mean: float
    std: float
    deciles: tuple[float, ...] | None

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(dataclasses.asdict(self))


def reference_of_normalization(normalization: Normalization | None) -> RewardReference | None:
    """Mean 0 and std 1, if a trainer measured both on its data: `(reward - mean) / std` is what is served."""
    # 0 and 1 stand for numbers that config.json lacks.
    if normalization is None or normalization.mean == 0.0 or normalization.std == 1.0:
        return None
    return RewardReference(texts=None, mean=0.0, std=1.0, deciles=None)


def reference_of_rewards(rewards: npt.NDArray[np.float32]) -> RewardReference:
    """The distribution of rewards.

    Args:
        rewards: float32 [n], or [n, K] with K labels, of which the first counts.

    Raises:
        ExportError: A reward isn't finite.
    """
    values = rewards.reshape(len(rewards), -1)[:, 0].astype(np.float64)
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise ExportError(
            f"the reward of the reference's item {bad[0]} is {values[bad[0]]}. Remedy: leave that text out, and look "
            "at the checkpoint: in another precision it may be finite"
        )
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    return RewardReference(
        texts=values.size,
        mean=float(values.mean()),
        std=float(values.std()),
        deciles=tuple(deciles.tolist()) if (np.diff(deciles) > 0).all() else None,
    )


def reference_tokens(texts: Sequence[str], contract: RewardContract, tokenizer: bytes) -> list[Tokens]:
    """The token ids that a client would send.

    Args:
        texts: Whole texts.
        contract: Of the version; its parity doesn't matter.
        tokenizer: Its `tokenizer.json`.

    Raises:
        InputError: A text can't be scored.
    """
    if not texts:
        return []
    return encode_texts(Encoder(Tokenizer.from_str(tokenizer.decode()), contract.tokenization), texts, contract)


def score_reference(
    graph: Path,
    precision: Precision,
    contract: RewardContract,
    sequences: Sequence[Tokens],
    progress: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """Rewards by the exported graph, on this machine's CPU, as in the parity check.

    Args:
        graph: The exported `model.onnx` or `model.pt`.
        precision: That it was traced in.
        contract: That it was traced for.
        sequences: Token ids of each.
        progress: Called with (runs done, runs in all).

    Returns:
        float32 [n], or [n, K] with K labels.
    """
    requests = list(
        pack(
            sequences,
            min(contract.max_request_tokens, max(_RUN_TOKENS, contract.tokenization.max_length)),
            share=not (contract.bidirectional or contract.padded),
            padded=contract.padded,
        )
    )
    done = itertools.count(1)
    with exported_graph(graph, precision) as run:
        score = rewards_of(run)

        def counted(inputs: dict[str, npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
            answer = score(inputs)
            progress(next(done), len(requests))
            return answer

        return packed_scorer(counted, lambda _: [[request] for request in requests], contract.identity)(sequences)
