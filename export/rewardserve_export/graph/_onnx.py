"""Tracing the packed reward model into ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import onnx_ir
import torch
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import fold_constants
from rewardserve import _wire
from rewardserve._errors import ExportError, RewardServeError

from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph._attention import ONNX_ATTENTION
from rewardserve_export.graph._cuda_attention import lower_to_cuda
from rewardserve_export.graph._experts import traceable_experts
from rewardserve_export.graph._int8 import quantized_layers
from rewardserve_export.graph._layout import GraphLimits
from rewardserve_export.graph._model import PackedRewardModel
from rewardserve_export.graph._model import attention as attention_of
from rewardserve_export.graph._onnx_functions import attach_functions
from rewardserve_export.graph._precision import Precision, in_precision
from rewardserve_export.graph._quantize import quantize

__all__ = ["EXTERNAL_DATA", "Attention", "trace_onnx", "write_onnx"]

Attention = Literal["loop", "cuda"]

EXTERNAL_DATA = "model.onnx.data"

OPSET = 20
"""Read by ONNX Runtime 1.17 and later, so by the oldest stock Triton that the design names."""


def _example(segments: list[int]) -> tuple[torch.Tensor, ...]:
    """Two requests of 7 and 5 tokens. Any sizes above 1 would do: all are traced as dynamic."""
    sizes = ([0] * 12, segments, [7, 12], [4, 6])
    return tuple(torch.tensor(values, dtype=torch.int32) for values in sizes)


_EXAMPLE = _example([3, 0, 4, 1, 5, 0])
_BIDIRECTIONAL_EXAMPLE = _example([3, 0, 4, 0, 5, 0])


def trace_onnx(
    model: RewardModel, limits: GraphLimits, precision: Precision = "fp32", attention: Attention = "loop"
) -> onnx_ir.Model:
    """Traces a reward model as a graph with the wire contract's inputs and outputs.

    Args:
        model: In float32.
        limits: What a request may hold.
        precision: Of the backbone's weights and activations; the head and the rewards are float32.
        attention: `loop` is a loop over segments in standard ONNX, `cuda` GroupQueryAttention over padded rows.

    Raises:
        UnsupportedModelError: The backbone asks its attention for something unsupported, or has no part that int8
            could be used for.
        ExportError: PyTorch can't trace it.
    """
    packed = PackedRewardModel(model, limits)
    traced = _trace(packed, "fp32" if precision == "int8" else precision)
    _simplify(traced, {name for name, _ in packed.named_parameters()})
    if precision == "int8":
        quantize(traced, quantized_layers(model.backbone))
    if attention == "cuda":
        lower_to_cuda(traced, limits.max_length)
    attach_functions(traced, cuda=attention == "cuda")
    return traced


def _trace(packed: PackedRewardModel, precision: Precision) -> onnx_ir.Model:
    model, limits = packed.model, packed.limits
    dynamic = ({0: torch.export.Dim.DYNAMIC},) * len(_EXAMPLE)
    outputs = [_wire.REWARDS, _wire.FINGERPRINTS, *([_wire.VALUES] if limits.values else [])]
    try:
        with ExitStack() as stack:
            if not limits.padded:
                stack.enter_context(attention_of(model.backbone, ONNX_ATTENTION))
            stack.enter_context(in_precision(model.backbone, precision))
            stack.enter_context(traceable_experts(model.backbone))
            stack.enter_context(_quiet())
            stack.enter_context(torch.no_grad())
            program = torch.onnx.export(
                packed,
                _BIDIRECTIONAL_EXAMPLE if limits.bidirectional else _EXAMPLE,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=[_wire.INPUT_IDS, _wire.SEGMENTS, _wire.REQUEST_TOKENS, _wire.REQUEST_SEGMENTS],
                output_names=outputs,
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # whatever the tracer stumbles over; our own errors arrive wrapped in its
        raise _own(error) or ExportError(
            f"PyTorch couldn't trace {type(model.backbone).__name__} ({type(error).__name__}: {error})"
        ) from error
    assert program is not None
    return program.model


def write_onnx(graph: onnx_ir.Model, directory: Path) -> Path:
    """Writes `model.onnx` and its external data into a directory; returns the former's path."""
    path = directory / "model.onnx"
    onnx_ir.save(graph, path, external_data=EXTERNAL_DATA)
    return path


def _simplify(graph: onnx_ir.Model, weights: set[str]) -> None:
    """The exporter's own optimizer also tries hundreds of rewrite rules on every node: half of a trace's time.

    Nothing is computed of weights: they keep their names, and their places in the checkpoint.
    """

    def has_weight(node: onnx_ir.Node) -> bool:
        return any(value is not None and value.name in weights for value in node.inputs)

    fold_constants(graph, should_fold=lambda node: False if has_weight(node) else None)
    for step in (IdentityEliminationPass(), CommonSubexpressionEliminationPass(), RemoveUnusedNodesPass()):
        step(graph)


def _own(error: BaseException | None) -> RewardServeError | None:
    while error is not None:
        if isinstance(error, RewardServeError):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """The tracer warns about torchvision, dynamic shapes and deprecations inside itself: nothing a user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
