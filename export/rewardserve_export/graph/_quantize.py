"""int8 for CPUs: weights with a scale for each output, activations with one for each token.

The usual dynamic quantisation has one scale for the whole tensor: the largest value of a stranger in the batch would
move every reward. A token's own scale depends on that token alone, and its integer products are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir
import torch
from onnx_ir import DataType, LazyTensor, Node, Shape, Value
from onnx_ir.passes.common import RemoveUnusedNodesPass
from rewardserve._errors import UnsupportedModelError
from torch import Tensor, nn

from rewardserve_export.graph._attention import ATTENTION_DOMAIN

__all__ = ["QUANTIZED_MATMUL", "QUANTIZED_TOKENS", "quantize", "quantized_layers", "round_rows"]

QUANTIZED_TOKENS = "QuantizeTokens"
QUANTIZED_MATMUL = "Int8MatMul"

_BACKBONE = "model.backbone."
_LEAST_RATIO = 8
"""Layers with fewer outputs than an eighth of their inputs stay wide: routers, whose choice mustn't change."""

_LARGEST = 127
_LEAST_SCALE = 1e-30
"""Rows of zeros have no largest value to divide by."""

Weights = npt.NDArray[np.float32]


def quantized_layers(backbone: nn.Module) -> list[str]:
    """Names of the linear layers whose products are made in int8."""
    return [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Linear)
        and not name.startswith("pooler")
        and layer.out_features * _LEAST_RATIO >= layer.in_features
    ]


def round_rows(values: Tensor) -> Tensor:
    """Values [..., K], float32, each row rounded to 127 steps on both sides of 0: what the int8 products see."""
    scale = (values.abs().amax(-1, keepdim=True) / _LARGEST).clamp_min(_LEAST_SCALE)
    return torch.round(values / scale) * scale


def scales_of(weight: Weights) -> Weights:
    """The scale [N] of each output of a weight [K, N]: no weight rounds to more than 127 of it."""
    scales: Weights = np.maximum(np.abs(weight).max(axis=0) / _LARGEST, np.float32(_LEAST_SCALE)).astype(np.float32)
    return scales


def rounded(weight: Weights) -> npt.NDArray[np.int8]:
    """A weight [K, N] in multiples of its scales."""
    return np.clip(np.rint(weight / scales_of(weight)), -_LARGEST, _LARGEST).astype(np.int8)


def quantize(graph: onnx_ir.Model, layers: list[str]) -> None:
    """Replaces the products of some layers of a traced graph by int8 ones.

    Weights stay lazy: each is read, and rounded, when it is written.

    Args:
        graph: Whose initializers have the state dict's names.
        layers: Of the backbone.

    Raises:
        UnsupportedModelError: The graph has none of them.
    """
    weights = {f"{_BACKBONE}{layer}.weight" for layer in layers}
    products = [node for node in graph.graph if node.op_type == "MatMul" and _weight(node, weights)]
    if not products:
        raise UnsupportedModelError(
            "this model has no linear layer that int8 could be used for. Remedy: another precision"
        )
    tokens: dict[Value, list[Value]] = {}
    for node in products:
        states, product = node.inputs[0], node.outputs[0]
        assert states is not None
        if states not in tokens:
            quantizer = Node(ATTENTION_DOMAIN, QUANTIZED_TOKENS, [states], num_outputs=2)
            graph.graph.insert_before(node, quantizer)
            tokens[states] = list(quantizer.outputs)
        inputs = [*tokens[states], *_initializers(graph.graph, node, weights), states]
        int8 = Node(ATTENTION_DOMAIN, QUANTIZED_MATMUL, inputs, num_outputs=1)
        int8.outputs[0].type, int8.outputs[0].shape = product.type, product.shape
        graph.graph.insert_before(node, int8)
        onnx_ir.convenience.replace_all_uses_with(product, int8.outputs[0])
        graph.graph.remove(node, safe=True)
    RemoveUnusedNodesPass()(graph)


def _weight(node: Node, names: set[str]) -> Value | None:
    """The weight of a product, where it is one of these: stored as [K, N], or as [N, K] and transposed."""
    value = node.inputs[1]
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type == "Transpose":
        value = producer.inputs[0]
    return value if value is not None and value.is_initializer() and value.name in names else None


def _initializers(graph: onnx_ir.Graph, node: Node, names: set[str]) -> Iterator[Value]:
    """The rounded weight [K, N] of a product, and its scales [N]."""
    weight, operand = _weight(node, names), node.inputs[1]
    assert weight is not None and weight.shape is not None
    transposed = operand is not weight
    shape = Shape(reversed(weight.shape.dims)) if transposed else weight.shape

    def read() -> Weights:
        assert weight.const_value is not None
        stored = weight.const_value.numpy().astype(np.float32, copy=False)
        return stored.T if transposed else stored

    yield _lazy(graph, f"{weight.name}_int8", DataType.INT8, shape, lambda: rounded(read()))
    yield _lazy(graph, f"{weight.name}_scale", DataType.FLOAT, Shape(shape[1:]), lambda: scales_of(read()))


def _lazy(
    graph: onnx_ir.Graph, name: str, dtype: DataType, shape: Shape, read: Callable[[], npt.NDArray[np.generic]]
) -> Value:
    """An initializer that is computed when it is written; one that two products share is made once."""
    if name not in graph.initializers:
        tensor = LazyTensor(
            lambda: onnx_ir.Tensor(np.ascontiguousarray(read()), name=name), dtype=dtype, shape=shape, name=name
        )
        graph.register_initializer(Value(name=name, type=onnx_ir.TensorType(dtype), shape=shape, const_value=tensor))
    return graph.initializers[name]
