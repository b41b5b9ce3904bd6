"""The bodies of the custom nodes, packed attention and experts: ONNX functions of standard operators."""

# mypy: ignore-errors
# The functions below are compiled by onnxscript, never run: their operators aren't Python's.
# ruff: noqa: N802

from __future__ import annotations

import onnx_ir
from onnxscript import FLOAT, INT64, script
from onnxscript import opset20 as op
from onnxscript.values import Opset

from rewardserve_export.graph._attention import ATTENTION_DOMAIN
from rewardserve_export.graph._cuda_functions import CUDA_FUNCTIONS
from rewardserve_export.graph._int8_functions import Int8MatMul, QuantizeTokens

__all__ = ["attach_functions"]

_domain = Opset(ATTENTION_DOMAIN, 1)


@script(_domain, default_opset=op)
def BlockScores(query: FLOAT[...], key: FLOAT[...], block: INT64[...]):
    """float32 scores [heads, q, k] of one block: query [1, heads, T, D], scaled, and key [1, key-value heads, T, D]."""
    q_start, q_end, k_start, k_end, p_start, p_length = op.Split(block, num_outputs=6)
    one = op.Constant(value_int=1)
    prefix = op.Range(op.Squeeze(p_start), op.Squeeze(p_start + p_length), one)
    own = op.Range(op.Squeeze(k_start), op.Squeeze(k_end), one)
    tokens = op.Concat(prefix, own, axis=0)
    keys = op.Squeeze(op.Gather(key, tokens, axis=2), [0])
    queries = op.Slice(query, q_start, q_end, [2])
    # The query heads of one key-value head are stacked, so that one product serves them all.
    width = op.Shape(query, start=3, end=4)
    minus_one = op.Constant(value_ints=[-1])
    stacked = op.Reshape(queries, op.Concat(op.Shape(key, start=1, end=2), minus_one, width, axis=0))
    scores = op.Cast(op.MatMul(stacked, op.Transpose(keys, perm=[0, 2, 1])), to=1)
    per_head = op.Concat(op.Shape(query, start=1, end=2), q_end - q_start, minus_one, axis=0)
    return op.Reshape(scores, per_head), tokens


@script(_domain, default_opset=op)
def BlockBias(block: INT64[...], behind: int, ahead: int):
    """0 where a query sees a key, minus infinity elsewhere [q, k]."""
    q_start, q_end, k_start, k_end, _p_start, p_length = op.Split(block, num_outputs=6)
    zero = op.Constant(value_int=0)
    one = op.Constant(value_int=1)
    row = op.Range(op.Squeeze(p_length + q_start - k_start), op.Squeeze(p_length + q_end - k_start), one)
    column = op.Range(zero, op.Squeeze(p_length + k_end - k_start), one)
    distance = op.Unsqueeze(row, [1]) - op.Unsqueeze(column, [0])
    visible = op.Constant(value_float=0.0)
    hidden = op.Constant(value_float=float("-inf"))
    return op.Where(op.And(distance < behind, distance > op.Neg(op.Constant(value_int=ahead))), visible, hidden)


@script(_domain, default_opset=op)
def BlockOutput(weights: FLOAT[...], value: FLOAT[...], tokens: INT64[...]):
    """float32 weights [heads, q, k] over values [1, key-value heads, T, D] of some tokens -> float32 [q, heads, D]."""
    values = op.Squeeze(op.Gather(value, tokens, axis=2), [0])
    minus_one = op.Constant(value_ints=[-1])
    grouped = op.Concat(op.Shape(value, start=1, end=2), minus_one, op.Shape(tokens), axis=0)
    attended = op.MatMul(op.Reshape(op.CastLike(weights, value), grouped), values)
    back = op.Concat(op.Shape(weights, start=0, end=2), op.Shape(value, start=3, end=4), axis=0)
    # ONNX has sequences of float32, but none of bfloat16.
    return op.Cast(op.Transpose(op.Reshape(attended, back), perm=[1, 0, 2]), to=1)


@script(_domain, default_opset=op)
def PackedAttention(
    query: FLOAT[...], key: FLOAT[...], value: FLOAT[...], blocks: INT64[...], scale: float, behind: int, ahead: int
):
    """Query [1, heads, T, D], key and value [1, key-value heads, T, D], blocks [B, 6] -> [1, T, heads, D]."""
    scaled = op.CastLike(op.Cast(query, to=1) * scale, query)
    output = op.SequenceEmpty()
    for index in range(op.Squeeze(op.Shape(blocks, start=0, end=1))):
        block = op.Gather(blocks, index, axis=0)
        scores, tokens = BlockScores(scaled, key, block)
        weights = op.Softmax(scores + BlockBias(block, behind=behind, ahead=ahead), axis=-1)
        output = op.SequenceInsert(output, BlockOutput(weights, value, tokens))
    return op.CastLike(op.Unsqueeze(op.ConcatFromSequence(output, axis=0), [0]), query)


@script(_domain, default_opset=op)
def PackedAttentionSoftcap(
    query: FLOAT[...],
    key: FLOAT[...],
    value: FLOAT[...],
    blocks: INT64[...],
    scale: float,
    behind: int,
    ahead: int,
    softcap: float,
):
    """The same with scores of softcap * tanh(scores / softcap)."""
    scaled = op.CastLike(op.Cast(query, to=1) * (scale / softcap), query)
    output = op.SequenceEmpty()
    for index in range(op.Squeeze(op.Shape(blocks, start=0, end=1))):
        block = op.Gather(blocks, index, axis=0)
        scores, tokens = BlockScores(scaled, key, block)
        capped = op.Tanh(scores) * softcap
        weights = op.Softmax(capped + BlockBias(block, behind=behind, ahead=ahead), axis=-1)
        output = op.SequenceInsert(output, BlockOutput(weights, value, tokens))
    return op.CastLike(op.Unsqueeze(op.ConcatFromSequence(output, axis=0), [0]), query)


@script(_domain, default_opset=op)
def PackedAttentionSinks(
    query: FLOAT[...],
    key: FLOAT[...],
    value: FLOAT[...],
    blocks: INT64[...],
    sinks: FLOAT[...],
    scale: float,
    behind: int,
    ahead: int,
):
    """The same with one more logit a head [heads] in the softmax, dropped behind it."""
    scaled = op.CastLike(op.Cast(query, to=1) * scale, query)
    sink = op.Reshape(op.Cast(sinks, to=1), [-1, 1, 1])
    output = op.SequenceEmpty()
    for index in range(op.Squeeze(op.Shape(blocks, start=0, end=1))):
        block = op.Gather(blocks, index, axis=0)
        scores, tokens = BlockScores(scaled, key, block)
        masked = scores + BlockBias(block, behind=behind, ahead=ahead)
        column = op.Expand(sink, op.Concat(op.Shape(masked, start=0, end=2), [1], axis=0))
        weights = op.Softmax(op.Concat(masked, column, axis=-1), axis=-1)
        kept = op.Slice(weights, [0], op.Shape(tokens), [2])
        output = op.SequenceInsert(output, BlockOutput(kept, value, tokens))
    return op.CastLike(op.Unsqueeze(op.ConcatFromSequence(output, axis=0), [0]), query)


@script(_domain, default_opset=op)
def ExpertsMatMul(states: FLOAT[...], weight: FLOAT[...], ends: INT64[...]):
    """States [S, I], sorted by expert, weight [E, I, O], end of each expert's share [E] -> [S, O]."""
    starts = op.Concat([0], op.Slice(ends, [0], [-1], [0]), axis=0)
    # Empty products would end a server with SIGFPE: only experts with tokens take part.
    busy = op.Squeeze(op.NonZero(ends > starts), [0])
    output = op.SequenceEmpty()
    for index in range(op.Squeeze(op.Shape(busy))):
        expert = op.Gather(busy, op.Unsqueeze(index, [0]), axis=0)
        share = op.Slice(states, op.Gather(starts, expert, axis=0), op.Gather(ends, expert, axis=0), [0])
        projected = op.MatMul(share, op.Squeeze(op.Gather(weight, expert, axis=0), [0]))
        output = op.SequenceInsert(output, op.Cast(projected, to=1))
    return op.CastLike(op.ConcatFromSequence(output, axis=0), states)


_ATTENTION = (BlockScores, BlockBias, BlockOutput, PackedAttention, PackedAttentionSoftcap, PackedAttentionSinks)
_OTHERS = (ExpertsMatMul, QuantizeTokens, Int8MatMul)


def attach_functions(model: onnx_ir.Model, *, cuda: bool) -> None:
    """Gives the custom nodes of a traced graph their bodies: those for CUDA where it was lowered to it."""
    used = {node.op_type for node in model.graph if node.domain == ATTENTION_DOMAIN}
    bodies = {function.name: function for function in (*(CUDA_FUNCTIONS if cuda else _ATTENTION), *_OTHERS)}
    while missing := used - {name for domain, name, _ in model.functions if domain == ATTENTION_DOMAIN}:
        function = onnx_ir.serde.deserialize_function(bodies[min(missing)].to_function_proto())
        used |= {node.op_type for node in function.all_nodes() if node.domain == ATTENTION_DOMAIN}
        # They call each other, and ONNX Runtime's own operators, which the compiler doesn't always note.
        function.opset_imports.update(dict.fromkeys((ATTENTION_DOMAIN, "com.microsoft"), 1))
        model.functions[function.identifier()] = function
    if used:
        model.opset_imports[ATTENTION_DOMAIN] = 1
    if any(node.domain == "com.microsoft" for function in model.functions.values() for node in function.all_nodes()):
        model.opset_imports["com.microsoft"] = 1
