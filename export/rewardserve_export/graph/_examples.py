"""A small batch to trace with."""

from __future__ import annotations

import torch

__all__ = ["examples"]


def examples(*, bidirectional: bool) -> tuple[torch.Tensor, ...]:
    """Two requests of 7 and 5 tokens. Any sizes above 1 would do: all are traced as dynamic."""
    segments = [3, 0, 4, 0, 5, 0] if bidirectional else [3, 0, 4, 1, 5, 0]
    sizes = ([0] * 12, segments, [7, 12], [4, 6])
    return tuple(torch.tensor(values, dtype=torch.int32) for values in sizes)
