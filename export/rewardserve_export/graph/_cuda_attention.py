"""Lowering packed attention for CUDA; refuses what the operator can't do, which would be a silent wrong score."""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType, Node, SequenceType, TensorType, Value
from rewardserve._errors import UnsupportedModelError

from rewardserve_export.graph._attention import ATTENTION_DOMAIN, ATTENTION_OP

__all__ = ["lower_to_cuda"]

_REMEDY = "Remedy: --attention loop, which runs on CUDA, too"
_WIDTH_MULTIPLE = 8


def lower_to_cuda(model: onnx_ir.Model, max_length: int) -> None:
    """Turns the attention nodes of a traced graph into those that `_cuda_functions.py` has bodies for.

    Args:
        model: As it was traced.
        max_length: Tokens of the longest sequence.

    Raises:
        UnsupportedModelError: The model asks its attention for something that GroupQueryAttention can't do.
    """
    graph = model.graph
    attentions = [node for node in graph if node.domain == ATTENTION_DOMAIN and node.op_type.startswith(ATTENTION_OP)]
    if not attentions:
        raise UnsupportedModelError(
            "this model runs padded, by its own attention: there is none to lower for CUDA. Remedy: --attention loop"
        )
    rows: list[Value] = []
    for node in attentions:
        query, key, value, blocks = node.inputs[:4]
        assert query is not None and key is not None and value is not None
        heads, width = _heads(query)
        key_value_heads, _ = _heads(key)
        _check(node, max_length, width, _heads(value)[1])
        if not rows:
            prepare = Node(ATTENTION_DOMAIN, "AttentionRows", [blocks, query], num_outputs=3)
            graph.insert_before(node, prepare)
            tokens, lengths, places = prepare.outputs
            tokens.type = SequenceType(TensorType(DataType.INT64))
            lengths.type = SequenceType(TensorType(DataType.INT32))
            places.type = TensorType(DataType.INT64)
            rows.extend(prepare.outputs)
        lowered = Node(
            ATTENTION_DOMAIN,
            ATTENTION_OP,
            [query, key, value, *rows],
            [
                node.attributes["scale"],
                node.attributes.get("softcap", onnx_ir.AttrFloat32("softcap", 0.0)),
                onnx_ir.AttrInt64("num_heads", heads),
                onnx_ir.AttrInt64("kv_num_heads", key_value_heads),
            ],
            num_outputs=1,
        )
        result = node.outputs[0]
        lowered.outputs[0].type, lowered.outputs[0].shape = result.type, result.shape
        graph.insert_before(node, lowered)
        onnx_ir.convenience.replace_all_uses_with(result, lowered.outputs[0])
        graph.remove(node, safe=True)


def _heads(states: Value) -> tuple[int, int]:
    """Heads and width of states [1, heads, T, D]."""
    assert states.shape is not None
    heads, width = states.shape[1], states.shape[3]
    assert isinstance(heads, int) and isinstance(width, int)
    return heads, width


def _check(node: Node, max_length: int, width: int, value_width: int) -> None:
    window, ahead = node.attributes["behind"].as_int(), node.attributes["ahead"].as_int()
    problem = None
    if ahead != 1:
        problem = "attention to later tokens"
    elif window < max_length:
        problem = f"sliding windows: this model's is {window} tokens, max_length {max_length}"
    elif node.op_type.endswith("Sinks"):
        problem = "attention sinks"
    elif width % _WIDTH_MULTIPLE or value_width != width:
        problem = f"heads of {width} numbers with values of {value_width}: both must be one multiple of 8"
    if problem is not None:
        raise UnsupportedModelError(f"attention=cuda (GroupQueryAttention) has no {problem}. {_REMEDY}")
