"""Running a 16-bit graph where no processor of this machine computes in 16 bits.

ONNX Runtime has no bf16 products on CPUs. So the same graph is rewritten: every operator computes in float32, its
results rounded to 16 bits again. That is what a GPU does, but for the rounding inside an operator: the nodes, the
weights, the casts around norms and softmax, and the attention's body are those that are published.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir
from onnx_ir import DataType, Node, TensorType, Value

__all__ = ["float32_twin"]

_HALVES = {DataType.FLOAT16, DataType.BFLOAT16}

_MOVES = {"Cast", "Gather", "Transpose", "Reshape"}
"""They compute nothing, and run in 16 bits anywhere."""


_NO_VALUES = {"Shape", "Size", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "NonZero"}
"""They don't answer in the type of what they are asked about."""


@contextmanager
def float32_twin(graph: Path) -> Iterator[Path]:
    """Writes the twin of an exported graph beside it, with the same weights, and removes it in the end.

    Args:
        graph: An exported `model.onnx`.
    """
    model = onnx_ir.load(graph)
    _rewrite(model.graph)
    twin = graph.with_name(f"twin_of_{graph.name}")
    onnx_ir.save(model, twin)
    try:
        yield twin
    finally:
        twin.unlink()


def _rewrite(graph: onnx_ir.Graph) -> None:
    wide: dict[Value, Value] = {}
    for node in list(graph):
        _infer(node)
        if node.op_type in _MOVES:
            continue
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in _HALVES:
                if value not in wide:
                    wide[value] = _cast(graph, node, value, DataType.FLOAT)
                node.replace_input_with(index, wide[value])
        for output in node.outputs:
            if output.dtype in _HALVES:
                _round(graph, node, output)


def _infer(node: Node) -> None:
    """Gives a type to results that the tracer left without."""
    halves = [value.dtype for value in node.inputs if value is not None and value.dtype in _HALVES]
    for output in node.outputs:
        if output.dtype is None and halves and node.op_type not in _NO_VALUES:
            assert halves[0] is not None
            output.type = TensorType(halves[0])


def _cast(graph: onnx_ir.Graph, before: Node, value: Value, dtype: DataType) -> Value:
    cast = Node("", "Cast", [value], [onnx_ir.AttrInt64("to", dtype)], num_outputs=1)
    cast.outputs[0].type = TensorType(dtype)
    graph.insert_before(before, cast)
    return cast.outputs[0]


def _round(graph: onnx_ir.Graph, node: Node, output: Value) -> None:
    """Rounds an output; who computes with it afterwards takes the rounded one."""
    dtype = output.dtype
    assert dtype is not None
    uses = list(output.uses())
    output.type = TensorType(DataType.FLOAT)
    cast = Node("", "Cast", [output], [onnx_ir.AttrInt64("to", dtype)], num_outputs=1)
    cast.outputs[0].type = TensorType(dtype)
    graph.insert_after(node, cast)
    for user, index in uses:
        user.replace_input_with(index, cast.outputs[0])
