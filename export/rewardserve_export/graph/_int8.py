"""int8 for CPUs: weights with a scale for each output, activations with one for each token.

The usual dynamic quantisation has one scale for the whole tensor: the largest value of a stranger in the batch would
move every reward. A token's own scale depends on that token alone, and its integer products are exact.

A few channels of a language model's hidden states are ten times as large as the others, and would leave those only a
few of the 127 steps. So states and weights are rotated first (Ashkboos et al. 2024, QuaRot): the product stays the
same, and what was in one channel is spread over a block of 64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["quantize_rows", "quantized_layers", "rotation", "round_rows"]

_BLOCK = 64
"""Channels that are rotated together: 64 cost 4 to 9% of a run, and divide an outlier by 8."""

_LEAST_RATIO = 8
"""Layers with fewer outputs than an eighth of their inputs stay wide: routers, whose choice mustn't change."""

_LARGEST = 127
_LEAST_SCALE = 1e-30
"""Rows of zeros have no largest value to divide by."""


def quantized_layers(backbone: nn.Module) -> list[str]:
    """Names of the linear layers whose products are made in int8. Poolers belong to the head."""
    return [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Linear)
        and layer.out_features * _LEAST_RATIO >= layer.in_features
        and not name.startswith("pooler")
    ]


def rotation(width: int) -> Tensor:
    """An orthogonal matrix [b, b] for every b of `width` channels: a Hadamard matrix with fixed random signs."""
    block = math.gcd(width, _BLOCK)
    matrix = torch.ones(1, 1)
    while len(matrix) < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    signs = torch.randint(2, (block, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return signs * matrix / math.sqrt(block)


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rotates rows [..., K], those of states or of a weight [N, K], and rounds each to 127 steps on both sides of 0.

    Returns:
        int8 [..., K], and the scales [..., 1].
    """
    matrix = rotation(rows.shape[-1])
    rotated = (rows.float().unflatten(-1, (-1, len(matrix))) @ matrix).flatten(-2)
    scale = (rotated.abs().amax(-1, keepdim=True) / _LARGEST).clamp_min(_LEAST_SCALE)
    return torch.round(rotated / scale).to(torch.int8), scale


def round_rows(rows: Tensor) -> Tensor:
    """What `quantize_rows` leaves of rows, rotated back: float32 [..., K]."""
    rounded, scale = quantize_rows(rows)
    matrix = rotation(rows.shape[-1])
    states: Tensor = ((rounded * scale).unflatten(-1, (-1, len(matrix))) @ matrix.T).flatten(-2)
    return states
