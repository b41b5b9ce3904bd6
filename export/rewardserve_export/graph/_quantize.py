"""Replacing the products of a traced graph by int8 ones (see `_int8.py`)."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir
import torch
from onnx_ir import DataType, LazyTensor, Node, Shape, TensorType, Value
from onnx_ir.passes.common import RemoveUnusedNodesPass
from rewardserve._errors import UnsupportedModelError
from torch import Tensor

from rewardserve_export.graph._attention import ATTENTION_DOMAIN
from rewardserve_export.graph._int8 import quantize_rows, rotation

__all__ = ["quantize"]

_BACKBONE = "model.backbone."


def quantize(model: onnx_ir.Model, layers: list[str]) -> None:
    """Makes the products of some layers int8.

    Weights stay lazy: each is read, and rounded, when it is written.

    Args:
        model: Whose initializers have the state dict's names.
        layers: Of the backbone.

    Raises:
        UnsupportedModelError: The graph has none of them.
    """
    graph = model.graph
    names = {f"{_BACKBONE}{layer}.weight" for layer in layers}
    products = [(node, weight) for node in graph if (weight := _weight(node, names)) is not None]
    if not products:
        raise UnsupportedModelError(
            "this model has no linear layer that int8 could be used for. Remedy: --precision fp32"
        )
    tokens: dict[Value, list[Value]] = {}
    for node, weight in products:
        states, product = node.inputs[0], node.outputs[0]
        assert states is not None
        if states not in tokens:
            quantizer = Node(ATTENTION_DOMAIN, "QuantizeTokens", [states, _rotation(graph, weight)], num_outputs=2)
            graph.insert_before(node, quantizer)
            tokens[states] = list(quantizer.outputs)
        inputs = [*tokens[states], _rounded(graph, weight), _scale(graph, weight), states]
        int8 = Node(ATTENTION_DOMAIN, "Int8MatMul", inputs, num_outputs=1)
        int8.outputs[0].type, int8.outputs[0].shape = product.type, product.shape
        graph.insert_before(node, int8)
        onnx_ir.convenience.replace_all_uses_with(product, int8.outputs[0])
        graph.remove(node, safe=True)
    RemoveUnusedNodesPass()(model)


def _weight(node: Node, names: set[str]) -> Value | None:
    """The weight [N, K] of a product, where it is one of these."""
    operand = node.inputs[1] if node.op_type == "MatMul" else None
    transpose = operand.producer() if operand is not None else None
    if transpose is None or transpose.op_type != "Transpose":
        return None
    weight = transpose.inputs[0]
    return weight if weight is not None and weight.is_initializer() and weight.name in names else None


def _rounded(graph: onnx_ir.Graph, weight: Value) -> Value:
    """int8 [K, N]."""
    outputs, width = _dimensions(weight)
    shape = Shape([width, outputs])
    return _initializer(graph, f"{weight.name}_int8", DataType.INT8, shape, lambda: _transposed(weight))


def _scale(graph: onnx_ir.Graph, weight: Value) -> Value:
    """float32 [N]."""
    shape = Shape(_dimensions(weight)[:1])
    return _initializer(
        graph, f"{weight.name}_scale", DataType.FLOAT, shape, lambda: quantize_rows(_read(weight))[1].squeeze(1)
    )


def _rotation(graph: onnx_ir.Graph, weight: Value) -> Value:
    matrix = rotation(_dimensions(weight)[1])
    size = len(matrix)
    return _initializer(graph, f"rotation_{size}", DataType.FLOAT, Shape([size, size]), lambda: matrix)


def _transposed(weight: Value) -> Tensor:
    rounded, _ = quantize_rows(_read(weight))
    return rounded.T.contiguous()


def _dimensions(weight: Value) -> tuple[int, int]:
    assert weight.shape is not None
    outputs, width = weight.shape
    assert isinstance(outputs, int) and isinstance(width, int)
    return outputs, width


def _read(weight: Value) -> Tensor:
    assert weight.const_value is not None
    return torch.from_numpy(weight.const_value.numpy())


def _initializer(
    graph: onnx_ir.Graph, name: str, dtype: DataType, shape: Shape, compute: Callable[[], Tensor]
) -> Value:
    """An initializer that is computed when it is written; one that several products share is made once."""
    if name not in graph.initializers:
        tensor = LazyTensor(lambda: onnx_ir.Tensor(compute().numpy(), name=name), dtype=dtype, shape=shape, name=name)
        graph.register_initializer(Value(name=name, type=TensorType(dtype), shape=shape, const_value=tensor))
    return graph.initializers[name]
