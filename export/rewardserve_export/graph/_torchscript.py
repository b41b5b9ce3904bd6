"""Tracing the packed reward model into TorchScript."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path

import torch
from rewardserve._errors import ExportError, RewardServeError, UnsupportedModelError

from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph._attention import EAGER_ATTENTION, OPERATOR_ATTENTION
from rewardserve_export.graph._examples import examples
from rewardserve_export.graph._fusion import fused
from rewardserve_export.graph._int8 import quantized_layers
from rewardserve_export.graph._layout import GraphLimits
from rewardserve_export.graph._model import PackedRewardModel, attention
from rewardserve_export.graph._precision import Precision, in_precision

__all__ = ["write_torchscript"]

_WIDE = ("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn")
"""Layers that stay bf16 in int8: a sixth of the products, and a quarter of the error (SmolLM2-135M: the mean deviation
of a reward falls from 0.28 to 0.21, bf16 alone has 0.10)."""


def write_torchscript(
    model: RewardModel, limits: GraphLimits, precision: Precision, directory: Path, *, operators: bool
) -> Path:
    """Traces a reward model, as a graph with the wire contract's inputs and outputs, and writes it as `model.pt`.

    Args:
        model: In float32, which it is again in the end.
        limits: What a request may hold.
        precision: Of the backbone's weights and activations; in int8, linear layers have int8 weights and the rest is
            bf16. The head and the rewards are float32.
        directory: Where to.
        operators: Whether the graph may call rewardserve's own operators (see `runtime/torch_operators.py`), or has
            to be made of PyTorch's alone.

    Returns:
        The file's path.

    Raises:
        UnsupportedModelError: The backbone asks its attention for something unsupported, or can't run packed.
        ExportError: PyTorch can't trace it.
    """
    _require_traceable(model, limits)
    path = directory / "model.pt"
    int8 = _int8_layers(model) if precision == "int8" else frozenset[str]()
    try:
        with ExitStack() as stack:
            stack.enter_context(attention(model.backbone, OPERATOR_ATTENTION if operators else EAGER_ATTENTION))
            if operators:
                stack.enter_context(fused(model.backbone, int8))
            stack.enter_context(in_precision(model.backbone, "bf16" if precision == "int8" else precision))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of the tracer, about itself: nothing a user can act on
            stack.enter_context(torch.no_grad())
            packed = PackedRewardModel(model, limits).eval()
            traced = torch.jit.trace(packed, examples(bidirectional=limits.bidirectional), check_trace=False)
            # Packed weights can't be constants, so a graph whose weights the engine will pack isn't frozen.
            torch.jit.save(traced if operators else torch.jit.freeze(traced), str(path))
    except RewardServeError:
        raise
    except Exception as error:  # whatever the tracer stumbles over
        raise ExportError(
            f"PyTorch couldn't trace {type(model.backbone).__name__} ({type(error).__name__}: {error}). "
            "Remedy: --format onnx"
        ) from error
    return path


def _int8_layers(model: RewardModel) -> frozenset[str]:
    return frozenset(name for name in quantized_layers(model.backbone) if not name.endswith(_WIDE))


def _require_traceable(model: RewardModel, limits: GraphLimits) -> None:
    name = type(model.backbone).__name__
    if limits.padded:
        raise UnsupportedModelError(f"{name} can't run packed, and isn't padded in TorchScript. Remedy: --format onnx")
    if model.backbone._can_set_experts_implementation():
        raise UnsupportedModelError(f"{name} has experts, which can't be traced by TorchScript. Remedy: --format onnx")
