"""The operators of a TorchScript graph: `rewardserve::…`.

Each has an implementation here, in PyTorch's own operators, for any device. On a CPU, `load_kernels` puts those of
`kernels.cpp` in their place: the same results up to rounding, several times faster.
"""

from __future__ import annotations

import warnings
from typing import List, Optional  # noqa: UP035 - TorchScript reads these

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LEVELS", "TURN", "packed_attention", "rotate"]

LEVELS, ZERO = 127, 128
"""Levels of int8 on each side of zero, and the byte that stands for zero in activations."""

TURN = 64
"""Columns that are rotated together before they are quantised; a power of 2."""

_SCHEMAS = (
    "linear(Tensor input, Tensor weight, Tensor? bias) -> Tensor",
    "quantize(Tensor input) -> (Tensor, Tensor)",
    "linear_int8(Tensor input, Tensor scale, Tensor weight, Tensor weight_scale, Tensor weight_zero, Tensor? bias, "
    "ScalarType dtype) -> Tensor",
    "rms_norm(Tensor input, Tensor weight, float eps) -> Tensor",
    "swiglu(Tensor gate, Tensor up) -> Tensor",
    "rotary(Tensor query, Tensor key, Tensor cos, Tensor sin) -> (Tensor, Tensor)",
    "packed_attention(Tensor query, Tensor key, Tensor value, Tensor blocks, Tensor? sinks, float scale, int behind, "
    "int ahead, float softcap) -> Tensor",
)


def _attend(  # noqa: PLR0913, PLR0917 - an operator's arguments
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: Tensor,
    sinks: Optional[Tensor],  # noqa: UP045
    scale: float,
    behind: int,
    ahead: int,
    softcap: float,
) -> Tensor:
    """Each block of queries attends to its prefix and to its own segment; softmax in float32.

    Args:
        query: [1, heads, T, D].
        key: [1, key-value heads, T, D].
        value: [1, key-value heads, T, D].
        blocks: int64 [B, 6], as in `PackedLayout`; together they hold every token once, in order.
        sinks: One logit a head [heads] that takes part in the softmax and is dropped behind it.
        scale: Factor of the scores.
        behind: A query sees keys less than this many positions behind it.
        ahead: And less than this many ahead: 1 where causal.
        softcap: Scores become softcap * tanh(scores / softcap); 0 leaves them.

    Returns:
        [1, T, heads, D].
    """
    heads, kv_heads, dim = query.size(1), key.size(1), query.size(3)
    rows: List[List[int]] = blocks.tolist()  # noqa: UP006
    outputs: List[Tensor] = []  # noqa: UP006
    for row in rows:
        q_start, q_end, k_start, k_end, p_start, p_length = row[0], row[1], row[2], row[3], row[4], row[5]
        keys, values = key[0, :, k_start:k_end], value[0, :, k_start:k_end]
        if p_length > 0:
            keys = torch.cat([key[0, :, p_start : p_start + p_length], keys], dim=1)
            values = torch.cat([value[0, :, p_start : p_start + p_length], values], dim=1)
        # The query heads of one key-value head are stacked, so that one product serves them all.
        stacked = query[0, :, q_start:q_end].reshape(kv_heads, -1, dim)
        scores = torch.matmul(stacked, keys.transpose(1, 2)).float() * scale
        scores = scores.reshape(heads, q_end - q_start, -1)
        if softcap > 0.0:
            scores = softcap * torch.tanh(scores / softcap)
        positions = torch.arange(p_length + k_end - k_start, device=query.device)
        first = p_length + q_start - k_start
        distance = positions[first : first + q_end - q_start].unsqueeze(1) - positions
        scores = scores.masked_fill((distance >= behind) | (distance <= -ahead), float("-inf"))
        if sinks is not None:
            logits = sinks.float().reshape(-1, 1, 1).expand(-1, q_end - q_start, 1)
            scores = torch.cat([scores, logits], dim=2)
        weights = torch.softmax(scores, dim=-1)[:, :, : keys.size(1)].to(query.dtype)
        attended = torch.matmul(weights.reshape(kv_heads, -1, keys.size(1)), values)
        outputs.append(attended.reshape(heads, q_end - q_start, -1))
    return torch.cat(outputs, dim=1).transpose(0, 1).unsqueeze(0)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
    # Traced into a graph, its loop stays a loop.
    packed_attention = torch.jit.script(_attend)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(input, weight, bias)


def rotate(values: Tensor) -> Tensor:
    """Multiplies every TURN columns of [..., K], float32, by an orthogonal matrix, where K is a multiple of TURN.

    A weight and its input are rotated alike, so their product stays the same, but an outlier is spread over all columns
    of its block, and costs the others less of int8's range (QuaRot: Ashkboos et al. 2024).
    """
    if values.shape[-1] % TURN:
        return values
    hadamard = torch.ones(1, 1)
    while len(hadamard) < TURN:
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    blocks: Tensor = values.unflatten(-1, (-1, TURN)) @ (hadamard / TURN**0.5).to(values)
    return blocks.flatten(-2)


def _quantize(input: Tensor) -> tuple[Tensor, Tensor]:
    wide = rotate(input.float())
    scale = wide.abs().amax(-1, keepdim=True) / LEVELS
    levels = torch.round(wide / scale.clamp_min(torch.finfo(torch.float32).tiny)) + ZERO
    return levels.nan_to_num(ZERO).to(torch.uint8), scale.reshape(-1, 1)


def _linear_int8(
    input: Tensor,
    scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    _weight_zero: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Multiplies the same numbers as the kernel, in the type of the result."""
    levels = (input.to(dtype) - ZERO) * scale.reshape(*input.shape[:-1], 1).to(dtype)
    return functional.linear(
        levels, (weight * weight_scale[:, None]).to(dtype), None if bias is None else bias.to(dtype)
    )


def _rms_norm(input: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = input.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * normed.to(input.dtype)


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return functional.silu(gate) * up


def _rotary(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    def rotate(states: Tensor) -> Tensor:
        first, second = states.chunk(2, dim=-1)
        return states * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]

    return rotate(query), rotate(key)


def _packed_attention(*arguments: object) -> Tensor:
    attended: Tensor = packed_attention(*arguments)
    return attended.clone()  # an operator's result may be a view of none of its inputs


def _define() -> torch.library.Library:
    library = torch.library.Library("rewardserve", "DEF")
    functions = (_linear, _quantize, _linear_int8, _rms_norm, _swiglu, _rotary, _packed_attention)
    for schema, function in zip(_SCHEMAS, functions, strict=True):
        library.define(schema)
        library.impl(function.__name__[1:], function, "CompositeExplicitAutograd")
    return library


_library = _define()  # what it registers lives as long as this object
