"""Preference pairs as tokens, and what transformers makes of them."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._models import Model
from benchmarks._reference import transformers_rewards
from benchmarks._setup import BenchmarkError, say

__all__ = ["Pairs", "reference_pairs"]

COUNT, MAX_LENGTH = 500, 2048


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs with their rewards by transformers in float32.

    Attributes:
        sequences: Token ids; each pair's chosen dialogue, followed by its rejected one.
        rewards: Of the sequences [2n].
    """

    sequences: list[list[int]]
    rewards: npt.NDArray[np.float64]

    def decisions(self, rewards: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Whether each pair's chosen dialogue has the higher reward [n]."""
        return np.asarray(rewards[0::2] > rewards[1::2])


def reference_pairs(model: Model, data: Path) -> Pairs:
    """The first 500 pairs that fit; transformers' rewards, which take minutes, are kept beside the checkpoint.

    Raises:
        BenchmarkError: The file has fewer pairs.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.directory / "tokenizer.json"))
    sequences: list[list[int]] = []
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            pair = [tokenizer.encode(row[side]).ids for side in ("chosen", "rejected")]
            if max(map(len, pair)) <= MAX_LENGTH and len(sequences) < 2 * COUNT:
                sequences += pair
    if len(sequences) < 2 * COUNT:
        raise BenchmarkError(f"{data} has only {len(sequences) // 2} pairs of up to {MAX_LENGTH} tokens, not {COUNT}")
    digest = hashlib.sha256(json.dumps(sequences).encode()).hexdigest()[:12]
    kept = model.beside(f"transformers-{digest}.json")
    if not kept.is_file():
        say(f"{2 * COUNT} dialogues by transformers: this takes minutes, once")
        kept.write_text(json.dumps(transformers_rewards(model, sequences).tolist()))
    return Pairs(sequences=sequences, rewards=np.array(json.loads(kept.read_text())))
