"""Operators in the place of modules, where they compute the same: fewer passes over memory, and packed weights.

What a family's modules compute is found out by running them, not by their names: a norm that adds one to its weight, or
a rotary embedding that pairs neighbours, stays as it is.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardserve_export.runtime.torch_operators import LEVELS, rotate

__all__ = ["fused"]

_ROTARY = "apply_rotary_pos_emb"
_PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")
_CLOSE = 1e-4
"""Relative to the largest result, in float32; another formula differs by far more."""


class PackedLinear(nn.Module):
    """A linear layer whose weight the engine may put into another layout."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        result: Tensor = torch.ops.rewardserve.linear(states, self.weight, self.bias)
        return result


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, one scale an output; each row of its input is rounded to int8, too."""

    weight: Tensor
    weight_scale: Tensor
    weight_zero: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        rotated = rotate(linear.weight.detach().float())
        scale = (rotated.abs().amax(1) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        self.register_buffer("weight", torch.round(rotated / scale[:, None]).to(torch.int8))
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero", torch.zeros(len(scale), dtype=torch.int32))
        self.bias = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        levels, scale = torch.ops.rewardserve.quantize(states)
        return self.product(levels, scale, states.dtype)

    def product(self, levels: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Of quantised rows [..., K] -> [..., N]."""
        result: Tensor = torch.ops.rewardserve.linear_int8(
            levels, scale, self.weight, self.weight_scale, self.weight_zero, self.bias, dtype
        )
        return result


class FusedNorm(nn.Module):
    """Root-mean-square norm."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        result: Tensor = torch.ops.rewardserve.rms_norm(states, self.weight, self.eps)
        return result


class FusedMLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module) -> None:
        super().__init__()
        self.gate_proj = gate_proj
        self.up_proj = up_proj
        self.down_proj = down_proj

    def forward(self, states: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        if isinstance(self.gate_proj, Int8Linear) and isinstance(self.up_proj, Int8Linear):
            levels, scale = torch.ops.rewardserve.quantize(states)
            gate, up = (layer.product(levels, scale, states.dtype) for layer in (self.gate_proj, self.up_proj))
        else:
            gate, up = self.gate_proj(states), self.up_proj(states)
        result: Tensor = self.down_proj(torch.ops.rewardserve.swiglu(gate, up))
        return result


@contextmanager
def fused(backbone: PreTrainedModel, int8: frozenset[str] = frozenset()) -> Iterator[None]:
    """Puts operators in the place of a float32 backbone's modules for a while.

    Args:
        backbone: In float32; may be given another precision inside.
        int8: Names of the linear layers whose products are made in int8.
    """
    with ExitStack() as stack, torch.no_grad():
        names = {module: name for name, module in backbone.named_modules()}
        # Whole modules first: what replaces one keeps its linear layers.
        for replace in (_fused_module, lambda module: _packed_linear(module, names.get(module, "") in int8)):
            for parent in list(backbone.modules()):
                for name, child in list(parent.named_children()):
                    replacement = replace(child)
                    if replacement is not None:
                        setattr(parent, name, replacement.eval())
                        stack.callback(setattr, parent, name, child)
        for module in {sys.modules[type(module).__module__] for module in backbone.modules()}:
            function = vars(module).get(_ROTARY)
            if function is not None and _is_rotary(function):
                setattr(module, _ROTARY, _fused_rotary(function))
                stack.callback(setattr, module, _ROTARY, function)
        yield


def _packed_linear(module: nn.Module, int8: bool) -> nn.Module | None:
    if type(module) is not nn.Linear:
        return None
    return Int8Linear(module) if int8 else PackedLinear(module)


def _fused_module(module: nn.Module) -> nn.Module | None:
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    if isinstance(weight, nn.Parameter) and weight.ndim == 1 and isinstance(eps, float):
        norm = FusedNorm(weight, eps)
        return norm if _same(module, norm, weight.numel()) else None
    if all(hasattr(module, part) for part in _PARTS) and isinstance(module.gate_proj, nn.Linear):
        mlp = FusedMLP(*(module.get_submodule(part) for part in _PARTS[:3]))
        return mlp if _same(module, mlp, module.gate_proj.in_features) else None
    return None


def _same(module: nn.Module, other: nn.Module, width: int) -> bool:
    states = torch.randn(1, 2, width, generator=torch.Generator().manual_seed(0))
    return _close(lambda: module(states), lambda: other(states))


def _is_rotary(function: Callable[..., Any]) -> bool:
    """Whether it is Llama's: halves rotated, cosines and sines of every head alike."""
    if list(inspect.signature(function).parameters)[:4] != ["q", "k", "cos", "sin"]:
        return False
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, heads, 3, 8, generator=random) for heads in (4, 2))
    cos, sin = (torch.randn(1, 3, 8, generator=random) for _ in range(2))
    fused_rotary = torch.ops.rewardserve.rotary
    return _close(
        lambda: torch.cat(function(query, key, cos, sin), dim=1),
        lambda: torch.cat(fused_rotary(query, key, cos, sin), dim=1),
    )


def _fused_rotary(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *others: Any, **named: Any) -> Any:
        plain = not others and not named and query.ndim == 4 and cos.ndim == 3
        if plain and query.shape[0] == 1 and cos.shape[-1] == query.shape[-1] == key.shape[-1]:
            return torch.ops.rewardserve.rotary(query, key, cos, sin)
        return function(query, key, cos, sin, *others, **named)

    return apply


def _close(compute: Callable[[], Tensor], other: Callable[[], Tensor]) -> bool:
    try:
        expected, actual = compute(), other()
    except (RuntimeError, TypeError, ValueError):
        return False  # called in another way, or with other shapes
    if expected.shape != actual.shape:
        return False
    return bool((expected - actual).abs().max() <= _CLOSE * expected.abs().max())
