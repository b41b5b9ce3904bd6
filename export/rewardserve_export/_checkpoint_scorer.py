"""Scores straight from a checkpoint, by the same rules as a client: what a served model is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rewardserve._chat import render_chats
from rewardserve._contract import Tokenization
from rewardserve._pairs import join_pairs
from rewardserve._tokenizer import Encoder
from tokenizers import Tokenizer

from rewardserve_export._options import TokenizationPreset
from rewardserve_export._tokenization import default_max_length, tokenization_of
from rewardserve_export.checkpoint import Checkpoint, load_reward_model, open_checkpoint
from rewardserve_export.graph import Precision
from rewardserve_export.parity import Rewards, Tokens, allowed_difference, reduced_scorer, transformers_scorer

__all__ = ["CheckpointScorer", "checkpoint_scorer"]


class CheckpointScorer:
    """Runs transformers, one sequence at a time, in float32.

    Args:
        checkpoint: Its weights are loaded here.
        tokenization: How text becomes tokens.
        progress: Called after every sequence.
    """

    def __init__(
        self, checkpoint: Checkpoint, tokenization: Tokenization, progress: Callable[[], None] = lambda: None
    ) -> None:
        self._tokenization = tokenization
        self._encoder = Encoder(Tokenizer.from_str(checkpoint.tokenizer.content.decode()), tokenization)
        self._model = load_reward_model(checkpoint)
        self._progress = progress
        self.score_tokens = transformers_scorer(self._model, progress)

    def allowed_difference(self, sequences: Sequence[Tokens], expected: Rewards, precision: Precision) -> float:
        """How far a graph in some precision may be from the rewards expected in float32."""
        if precision == "fp32":
            return allowed_difference(expected)
        reduced = reduced_scorer(self._model, precision, self._progress)(sequences)
        return allowed_difference(expected, reduced, precision)

    def tokenize(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The token ids of texts."""
        return self._encode(texts, chat=False)

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Rewards of texts, float32 [n] or [n, K]."""
        return self.score_tokens(self._encode(texts, chat=False))

    def score_pairs(self, prompts: Sequence[str], responses: Sequence[str]) -> npt.NDArray[np.float32]:
        """Rewards of responses to prompts, joined as the tokenization says."""
        return self.score(join_pairs(prompts, responses, self._tokenization))

    def score_chat(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> npt.NDArray[np.float32]:
        """Rewards of conversations, rendered by the checkpoint's chat template."""
        return self.score_tokens(self._encode(render_chats(conversations, self._tokenization), chat=True))

    def _encode(self, texts: Sequence[str], *, chat: bool) -> list[npt.NDArray[np.int32]]:
        sequences, _ = self._encoder.encode(texts, chat=chat)
        return [np.array(ids, dtype=np.int32) for ids in sequences]


def checkpoint_scorer(
    source: str | Path,
    *,
    base: str | Path | None = None,
    value_head_prefix: str | None = None,
    tokenization: TokenizationPreset = "auto",
) -> CheckpointScorer:
    """Opens a checkpoint for scoring without a server.

    Args:
        source: A checkpoint's directory, or its name on the Hugging Face Hub.
        base: For an adapter, the model it was trained on.
        value_head_prefix: Name of the value head.
        tokenization: How the trainer turned text into tokens.

    Raises:
        CheckpointError: It can't be read.
    """
    checkpoint = open_checkpoint(source, base=base, value_head_prefix=value_head_prefix)
    rules = tokenization_of(checkpoint, default_max_length(checkpoint), "error", tokenization)
    return CheckpointScorer(checkpoint, rules)
