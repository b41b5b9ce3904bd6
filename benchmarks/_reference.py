"""The rewards of transformers: what every server must answer, or it computes something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._models import Model
from benchmarks._servers import Server
from benchmarks._setup import BenchmarkError
from benchmarks._workloads import TokenSource

__all__ = ["Reference", "transformers_rewards"]

_LENGTHS = (1, 2, 17, 64, 128, 200, 333, 512, 700, 1024)
_TOLERANCE = 0.5
"""Of the rewards' standard deviation: int8 stays below; another pooling, mask or head is at 1 and more."""


class Reference:
    """Sequences with their rewards, in float32.

    Args:
        model: The checkpoint.
    """

    def __init__(self, model: Model) -> None:
        tokens = TokenSource(model.vocab_size, seed=2**31)
        self._sequences = [tokens.sequence(length) for length in _LENGTHS]
        self._rewards = transformers_rewards(model, self._sequences)

    def check(self, server: Server) -> dict[str, float]:
        """How far a server's rewards are off, asked for one by one and all at once.

        Raises:
            BenchmarkError: So far that it computes something else.
        """
        session = server.connect()
        try:
            alone = [session.score([sequence])[0] for sequence in self._sequences]
            together = session.score(self._sequences)
        finally:
            session.close()
        differences = np.abs(np.array([alone, together]) - self._rewards)
        if not differences.max() <= _TOLERANCE * self._rewards.std():
            raise BenchmarkError(
                f"its rewards are up to {differences.max():.3g} off transformers', whose spread is "
                f"{self._rewards.std():.3g}: it computes something else"
            )
        return {
            "largest": float(differences.max()),
            "mean": float(differences.mean()),
            "std_of_rewards": float(self._rewards.std()),
        }


def transformers_rewards(model: Model, sequences: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """One sequence at a time, unpadded, float32 [n]."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    scorer: Any = AutoModelForSequenceClassification.from_pretrained(model.directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.array([scorer(torch.tensor([list(sequence)])).logits.item() for sequence in sequences])
