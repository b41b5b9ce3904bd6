"""`attention-cost`: what attention adds to the linear layers, for many short sequences and for one long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._setup import BenchmarkError, Setup, say
from benchmarks._summary import interleaved, summary

__all__ = ["attention_cost"]

TOKENS, SEQUENCES, RUNS = 4096, 64, 7

# In the place of attention: every query gets its key and value added. It reads and writes the same tensors, so nothing
# else of the graph falls away, and costs next to nothing.
_NO_ATTENTION = """
<domain: "{domain}", opset_import: ["": 20]>
{name} <scale, behind, ahead> (query, key, value, blocks) => (output)
{{
    both = Add(key, value)
    heads = Constant<value_ints = [1]>()
    summed = ReduceSum<keepdims = 1>(both, heads)
    mixed = Add(query, summed)
    output = Transpose<perm = [0, 2, 1, 3]>(mixed)
}}
"""


def attention_cost(setup: Setup) -> dict[str, Any]:
    """Seconds of one run of the graph over the same tokens, as many sequences and as one."""
    from rewardserve_export.parity import onnx_runner

    if setup.contract["tokenization"]["max_length"] < TOKENS:
        raise BenchmarkError(f"{setup.repository} wasn't exported for {TOKENS} tokens. Remedy: --max-length {TOKENS}")
    path = setup.version / "model.onnx"
    tokens = np.random.default_rng(0).integers(0, setup.contract["vocab_size"], TOKENS, dtype=np.int32)
    many, one = _feed(tokens, SEQUENCES), _feed(tokens, 1)
    run, run_without = onnx_runner(path), _session(*_without_attention(path))
    shapes = _linear_shapes(path)
    multiply = _session(_products(shapes), None)
    rows = {f"x{inner}": np.full((TOKENS, inner), 0.5, np.float32) for inner, _ in shapes}
    say(f"attention-cost: {RUNS} runs of each case")
    seconds = interleaved(
        {
            "many": lambda: run(many),
            "one": lambda: run(one),
            "without_attention": lambda: run_without.run(None, many),
            "linear_layers": lambda: multiply.run(None, rows),
        },
        RUNS,
    )
    short = TOKENS // SEQUENCES
    return {
        "what": (
            f"seconds of one run of the exported graph in ONNX Runtime over the same {TOKENS:,} tokens. "
            "without_attention: the same graph, in which attention is replaced by an addition of query, key and value. "
            "linear_layers: only the products of the graph's linear layers, same number and shapes, in ONNX Runtime "
            "(weights shared between layers of one shape, only one row of each product kept)"
        ),
        f"{SEQUENCES}_sequences_of_{short}": summary(seconds["many"]),
        f"1_sequence_of_{TOKENS}": summary(seconds["one"]),
        "without_attention": summary(seconds["without_attention"]),
        "linear_layers": summary(seconds["linear_layers"]),
        "ratios_of_medians": _ratios({name: float(np.median(values)) for name, values in seconds.items()}),
        # Comparable only where every case met a quiet moment of the machine.
        "ratios_of_minima": _ratios({name: min(values) for name, values in seconds.items()}),
    }


def _ratios(seconds: dict[str, float]) -> dict[str, float]:
    many, one = f"{SEQUENCES}_sequences_of_{TOKENS // SEQUENCES}", f"1_sequence_of_{TOKENS}"
    return {
        f"{one} / {many}": round(seconds["one"] / seconds["many"], 3),
        f"{many} / without_attention": round(seconds["many"] / seconds["without_attention"], 3),
        f"{many} / linear_layers": round(seconds["many"] / seconds["linear_layers"], 3),
        f"{one} / linear_layers": round(seconds["one"] / seconds["linear_layers"], 3),
    }


def _feed(tokens: npt.NDArray[np.int32], sequences: int) -> dict[str, npt.NDArray[np.int32]]:
    """All tokens as one request of equally long sequences."""
    from rewardserve._packing import PackedRequest
    from rewardserve._wire import graph_inputs

    request = PackedRequest.of(np.split(tokens, sequences), range(sequences))
    return graph_inputs([(request.input_ids, request.segments)])


def _without_attention(path: Path) -> tuple[bytes, Path]:
    """The exported graph with another attention function; its weights stay where they are."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    (function,) = (function for function in model.functions if function.name == "PackedAttention")
    text = _NO_ATTENTION.format(domain=function.domain, name=function.name)
    function.CopyFrom(onnx.parser.parse_function(text))
    return model.SerializeToString(), path.parent


def _linear_shapes(path: Path) -> list[tuple[int, int]]:
    """[inputs, outputs] of every linear layer of the graph."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in shapes]
    if not products:
        raise BenchmarkError(f"{path} has no product with a weight: its linear layers look different")
    return [(shapes[node.input[1]][0], shapes[node.input[1]][1]) for node in products]


def _products(shapes: list[tuple[int, int]]) -> bytes:
    """A graph of nothing but these products, of inputs `x<inner>` [T, inner]."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape, dtype=np.float32), f"w{shape[0]}x{shape[1]}")
        for shape in sorted(set(shapes))
    ]
    bounds = [numpy_helper.from_array(np.array([bound]), name) for name, bound in (("from", 0), ("to", 1))]
    nodes, outputs = [], []
    for index, (inner, outer) in enumerate(shapes):
        # Otherwise ONNX Runtime computes equal products once: each layer gets an input of its own.
        nodes.append(helper.make_node("Add", [f"x{inner}", f"c{index}"], [f"x{index}"]))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{inner}x{outer}"], [f"y{index}"]))
        nodes.append(helper.make_node("Slice", [f"y{index}", "from", "to"], [f"out{index}"]))
        weights.append(numpy_helper.from_array(np.array([index], dtype=np.float32), f"c{index}"))
        outputs.append(helper.make_tensor_value_info(f"out{index}", TensorProto.FLOAT, [1, outer]))
    inputs = [
        helper.make_tensor_value_info(f"x{inner}", TensorProto.FLOAT, [None, inner])
        for inner in sorted({inner for inner, _ in shapes})
    ]
    graph = helper.make_graph(nodes, "products", inputs, outputs, [*weights, *bounds])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def _session(model: bytes, weights: Path | None) -> Any:
    """The same settings as the export's parity check: ONNX Runtime's defaults, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if weights is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
