"""Running a backbone in another precision than float32, as transformers itself would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardserve_export.graph._int8 import quantized_layers, round_rows

__all__ = ["HALF_PRECISIONS", "Precision", "in_precision"]

Precision = Literal["fp32", "bf16", "fp16", "int8"]

HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}

_POOLER = "pooler"
"""A part of some encoders that belongs to their head, so that it stays float32."""


@contextmanager
def in_precision(backbone: PreTrainedModel, precision: Precision) -> Iterator[None]:
    """Gives a float32 backbone another precision for a while; its hidden states have it, too.

    In bf16 and fp16 all its parameters are rounded but those that transformers keeps in float32, and norms and softmax
    accumulate in float32, as transformers writes them. In int8 the weights and inputs of its linear layers are
    rounded, and multiplied in float32.

    Args:
        backbone: In float32, which it is again in the end.
        precision: `fp32` leaves it.
    """
    if precision == "fp32":
        yield
        return
    before = [(module, name, weight) for module in backbone.modules() for name, weight in module._parameters.items()]
    hooks = _int8(backbone) if precision == "int8" else _half(backbone, HALF_PRECISIONS[precision])
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, name, weight in before:
            module._parameters[name] = weight


def _half(backbone: PreTrainedModel, dtype: torch.dtype) -> list[Any]:
    names = [*(backbone._keep_in_fp32_modules_strict or ()), _POOLER]
    if dtype == torch.float16:
        names.extend(backbone._keep_in_fp32_modules or ())
    wide = re.compile("|".join(rf"(^|\.){re.escape(name)}($|\.)" for name in names))
    for name, parameter in list(backbone.named_parameters(remove_duplicate=False)):
        if not wide.search(name):
            _replace(backbone, name, parameter.to(dtype))
    return [
        child.register_forward_pre_hook(lambda _module, inputs: tuple(value.float() for value in inputs))
        for name, child in backbone.named_children()
        if name == _POOLER
    ]


def _replace(backbone: PreTrainedModel, name: str, weight: Tensor) -> None:
    """Puts another parameter in the place of one, which whoever traced the model meanwhile can keep."""
    owner, _, own_name = name.rpartition(".")
    backbone.get_submodule(owner)._parameters[own_name] = nn.Parameter(weight, requires_grad=False)


def _int8(backbone: PreTrainedModel) -> list[Any]:
    hooks = []
    for name in quantized_layers(backbone):
        layer = backbone.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        _replace(backbone, f"{name}.weight", round_rows(layer.weight))
        hooks.append(layer.register_forward_pre_hook(_round_inputs))
    return hooks


def _round_inputs(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (round_rows(inputs[0]),)
