"""The bodies of the int8 nodes: one scale for each token, whatever it is batched with."""

# mypy: ignore-errors
# The functions below are compiled by onnxscript, never run: their operators aren't Python's.
# ruff: noqa: N802

from __future__ import annotations

from onnx import TensorProto, helper
from onnxscript import FLOAT, INT8, UINT8, script
from onnxscript import opset20 as op
from onnxscript.values import Opset

from rewardserve_export.graph._attention import ATTENTION_DOMAIN

__all__ = ["Int8MatMul", "QuantizeTokens"]

_domain = Opset(ATTENTION_DOMAIN, 1)
_contrib = Opset("com.microsoft", 1)

# Unsigned around 128: the form that processors multiply fastest with signed weights.
_ZERO = helper.make_tensor("zero", TensorProto.UINT8, [], [128])
_ONE = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])


@script(_domain, default_opset=op)
def QuantizeTokens(states: FLOAT[...], rotation: FLOAT[...]):
    """States [..., K], rotation [b, b] -> rotated [M, K], 128 standing for 0, and the scale [M, 1] of each token."""
    minus_one = op.Constant(value_ints=[-1])
    parts = op.Reshape(states, op.Concat(minus_one, op.Shape(rotation, start=0, end=1), axis=0))
    rows = op.Reshape(op.MatMul(parts, rotation), op.Concat(minus_one, op.Shape(states, start=-1), axis=0))
    largest = op.ReduceMax(op.Abs(rows), minus_one, keepdims=0)
    # A token of zeros has no largest value to divide by.
    scale = op.Max(largest * op.Constant(value_float=1 / 127), op.Constant(value_float=1e-30))
    zeros = op.Expand(op.Constant(value=_ZERO), op.Shape(scale))
    return op.QuantizeLinear(rows, scale, zeros, axis=0), op.Unsqueeze(scale, minus_one)


@script(_domain, default_opset=op)
def Int8MatMul(
    quantized: UINT8[...], scale: FLOAT[...], weight: INT8[...], weight_scale: FLOAT[...], states: FLOAT[...]
):
    """Quantised states [M, K] and weight [K, N], their scales [M, 1] and [N] -> [..., N], shaped as the states."""
    zero = op.Constant(value=_ZERO)
    products = _contrib.MatMulIntegerToFloat(quantized, weight, op.Constant(value=_ONE), weight_scale, zero)
    shape = op.Concat(op.Shape(states, start=0, end=-1), op.Constant(value_ints=[-1]), axis=0)
    return op.Reshape(products * scale, shape)
