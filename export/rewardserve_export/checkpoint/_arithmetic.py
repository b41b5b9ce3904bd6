"""float32 arithmetic over weights that are stored in fewer bits, one operation's weights in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Float32Arithmetic", "chunks"]

_NARROW = (torch.bfloat16, torch.float16)

_CHUNK = 128 << 20
"""Bytes of a weight that are widened at once."""

_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]

_SELECTING = (functional.embedding, torch.Tensor.__getitem__)
"""A vocabulary is too large to widen; the rows of a few tokens aren't."""

_LOOKING = {"__get__", "dim", "is_complex", "is_contiguous", "is_floating_point", "numel", "size", "stride"}
"""Names of what reads a tensor's description, not its contents; `__get__` is any attribute."""


class Float32Arithmetic(TorchFunctionMode):
    """Runs a model as if its bfloat16 and float16 weights were the float32 numbers that they stand for.

    Where no weight is narrow, nothing changes, to the bit.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions."""
        kwargs = kwargs or {}
        if not any(_is_narrow(leaf) for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if func == _DTYPE:
            # Modules cast their input to the type of their weights.
            return torch.float32
        if func is functional.linear:
            return _linear(*args, **kwargs)
        if func in _SELECTING or getattr(func, "__name__", "") in _LOOKING:
            return _widen(func(*args, **kwargs))
        return func(*tree_map(_widen_weight, args), **tree_map(_widen_weight, kwargs))


def _is_narrow(leaf: Any) -> bool:
    return isinstance(leaf, nn.Parameter) and leaf.dtype in _NARROW


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Output by output, so that one chunk of the weight is widened at a time."""
    parts = [
        functional.linear(states, _widen(weight[rows]), None if bias is None else _widen(bias[rows]))
        for rows in chunks(weight, torch.float32, _CHUNK)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _widen(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _NARROW else value


def _widen_weight(value: Any) -> Any:
    return _widen(value) if isinstance(value, nn.Parameter) else value


def chunks(tensor: Tensor, dtype: torch.dtype, size: int) -> Iterator[slice]:
    """Cuts a tensor's first dimension into slices of about `size` bytes, counted in `dtype`; at least one row each."""
    length = tensor.shape[0]
    rows = max(1, size * length // max(1, tensor.numel() * dtype.itemsize))
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))
