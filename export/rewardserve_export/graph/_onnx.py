"""Tracing the packed reward model into ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
from rewardserve_export.graph._experts import traceable_experts
from rewardserve_export.graph._layout import GraphLimits
from rewardserve_export.graph._model import PackedRewardModel, attention
from rewardserve_export.graph._onnx_functions import attach_functions
from rewardserve_export.graph._streaming import fold_transposes, refer_to_weights, stand_ins

__all__ = ["EXTERNAL_DATA", "trace_onnx", "write_onnx"]

EXTERNAL_DATA = "model.onnx.data"

OPSET = 20
"""Read by ONNX Runtime 1.17 and later, so by the oldest stock Triton that the design names."""


def _example(segments: list[int]) -> tuple[torch.Tensor, ...]:
    """Two requests of 7 and 5 tokens. Any sizes above 1 would do: all are traced as dynamic."""
    sizes = ([0] * 12, segments, [7, 12], [4, 6])
    return tuple(torch.tensor(values, dtype=torch.int32) for values in sizes)


_EXAMPLE = _example([3, 0, 4, 1, 5, 0])
_BIDIRECTIONAL_EXAMPLE = _example([3, 0, 4, 0, 5, 0])


def trace_onnx(model: RewardModel, limits: GraphLimits) -> onnx_ir.Model:
    """Traces a reward model as a graph with the wire contract's inputs and outputs.

    Raises:
        UnsupportedModelError: The backbone asks its attention for something unsupported.
        ExportError: PyTorch can't trace it.
    """
    dynamic = ({0: torch.export.Dim.DYNAMIC},) * len(_EXAMPLE)
    outputs = [_wire.REWARDS, _wire.FINGERPRINTS, *([_wire.VALUES] if limits.values else [])]
    packed = PackedRewardModel(model, limits)
    try:
        with ExitStack() as stack:
            stack.enter_context(stand_ins(packed))
            if not limits.padded:
                stack.enter_context(attention(model.backbone, ONNX_ATTENTION))
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
    refer_to_weights(program.model, packed)
    _simplify(program.model)
    attach_functions(program.model)
    return program.model


def write_onnx(graph: onnx_ir.Model, directory: Path, progress: Callable[[int, int], None] = lambda *_: None) -> Path:
    """Writes `model.onnx` and its external data into a directory; returns the former's path.

    Args:
        graph: Traced.
        directory: Where to.
        progress: Called with (bytes written, bytes in all) before every weight.
    """
    path = directory / "model.onnx"
    weights = (value.const_value for value in graph.graph.initializers.values())
    total = sum(weight.nbytes for weight in weights if weight is not None)

    def written(_: onnx_ir.TensorProtocol, place: onnx_ir.external_data.CallbackInfo) -> None:
        progress(place.offset, total)

    onnx_ir.save(graph, path, external_data=EXTERNAL_DATA, callback=written)
    return path


def _simplify(graph: onnx_ir.Model) -> None:
    """The exporter's own optimizer also tries hundreds of rewrite rules on every node: half of a trace's time."""
    fold_transposes(graph)
    fold_constants(graph)
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
