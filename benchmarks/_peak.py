"""The matrix-product rate that one core reaches, in each precision, with the libraries that servers here use.

`python -m benchmarks._peak [[IN, OUT], …]` prints it for the linear layers of a model, and for a square product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._models import Model
from benchmarks._processes import Cores, pinned
from benchmarks._servers import ONE_THREAD

__all__ = ["measured_peak"]

ROWS, SQUARE = 1024, 1024
_REPEATS, _SECONDS = 5, 0.1

Shape = tuple[int, int]
Product = Callable[[], object]


def measured_peak(model: Model, cores: Cores) -> dict[str, Any]:
    """GFLOP/s of matrix products on the server's core, with one thread: {precision: {"peak", "model", "square"}}.

    `model` is the rate over all of the model's linear layers with 1,024 rows, `square` that of one product of 1,024 by
    1,024 by 1,024, each by the best library; `peak` is the higher of the two.
    """
    command = [sys.executable, "-m", __name__, json.dumps(model.shapes)]
    with pinned(frozenset([cores.server])):
        output = subprocess.run(command, check=True, capture_output=True, env={**os.environ, **ONE_THREAD}).stdout
    rates: dict[str, Any] = json.loads(output)
    return rates


def _main() -> None:
    shapes = Counter((inner, outer) for inner, outer in json.loads(sys.argv[1]))
    print(json.dumps({precision: _best(libraries, shapes) for precision, libraries in _LIBRARIES.items()}))


def _best(libraries: dict[str, Callable[[Shape], Product]], shapes: Counter[Shape]) -> dict[str, Any]:
    squares = {name: 2 * ROWS * SQUARE**2 / _seconds(make((SQUARE, SQUARE))) / 1e9 for name, make in libraries.items()}
    operations = sum(2 * ROWS * inner * outer * count for (inner, outer), count in shapes.items())
    models = {
        name: operations / sum(count * _seconds(make(shape)) for shape, count in shapes.items()) / 1e9
        for name, make in libraries.items()
    }
    best_model, best_square = max(models.values()), max(squares.values())
    return {
        "peak": max(best_model, best_square),
        "model": best_model,
        "square": best_square,
        "by_library": {name: {"model": models[name], "square": squares[name]} for name in libraries},
    }


def _seconds(product: Product) -> float:
    """Processor time, the least of some averages: what the core can do when nothing disturbs it."""
    product()
    began = time.thread_time()
    product()
    repeats = max(1, round(_SECONDS / (time.thread_time() - began)))
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.thread_time()
        for _ in range(repeats):
            product()
        best = min(best, (time.thread_time() - began) / repeats)
    return best


def _onednn(dtype: str) -> Callable[[Shape], Product]:
    """A linear layer of torch by oneDNN, its weight reordered once."""

    def make(shape: Shape) -> Product:
        import torch

        rows = torch.randn(ROWS, shape[0]).to(getattr(torch, dtype))
        weight = torch.randn(shape[1], shape[0]).to(getattr(torch, dtype))
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        linear = torch.ops.mkldnn._linear_pointwise
        return lambda: linear(rows, packed, None, "none", [], "")

    return make


def _onednn_int8(shape: Shape) -> Product:
    """8-bit activations by 8-bit weights with a scale a channel, by oneDNN; the result in float32."""
    import torch

    rows = torch.randint(0, 255, (ROWS, shape[0]), dtype=torch.uint8)
    weight = torch.randint(-127, 127, (shape[1], shape[0]), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, [ROWS, shape[0]])
    scales, zeros = torch.full((shape[1],), 0.01), torch.zeros(shape[1], dtype=torch.int64)
    linear = torch.ops.onednn.qlinear_pointwise
    return lambda: linear(rows, 0.01, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")


def _onnxruntime(operator: str, row_type: Any, weight_type: Any) -> Callable[[Shape], Product]:
    """ONNX Runtime's product of rows and a constant weight."""

    def make(shape: Shape) -> Product:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        types = {np.float32: TensorProto.FLOAT, np.uint8: TensorProto.UINT8, np.int32: TensorProto.INT32}
        result = np.float32 if row_type is np.float32 else np.int32
        random = np.random.default_rng(0)
        weight = numpy_helper.from_array((100 * random.standard_normal(shape)).astype(weight_type), "weight")
        graph = helper.make_graph(
            [helper.make_node(operator, ["rows", "weight"], ["result"])],
            "product",
            [helper.make_tensor_value_info("rows", types[row_type], [ROWS, shape[0]])],
            [helper.make_tensor_value_info("result", types[result], [ROWS, shape[1]])],
            [weight],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        rows = (100 * random.random((ROWS, shape[0]))).astype(row_type)
        return lambda: session.run(None, {"rows": rows})

    return make


_LIBRARIES: dict[str, dict[str, Callable[[Shape], Product]]] = {
    "fp32": {
        "oneDNN": _onednn("float32"),
        "ONNX Runtime": _onnxruntime("MatMul", np.float32, np.float32),
    },
    "bf16": {"oneDNN": _onednn("bfloat16")},
    "int8": {"oneDNN": _onednn_int8, "ONNX Runtime": _onnxruntime("MatMulInteger", np.uint8, np.int8)},
}


if __name__ == "__main__":
    _main()
