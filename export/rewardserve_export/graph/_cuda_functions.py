"""The body of packed attention for CUDA: com.microsoft.GroupQueryAttention over sequences of similar length.

The operator takes right-padded rows of equal length, causal by itself. So each segment becomes a row, behind a copy
of its prefix; the rows are sorted by length and cut into chunks of a bounded number of tokens, once for all layers.
"""

# mypy: ignore-errors
# The functions below are compiled by onnxscript, never run: their operators aren't Python's.
# ruff: noqa: N802, PLR0913, PLR0917

from __future__ import annotations

from onnxscript import FLOAT, INT64, script
from onnxscript import opset20 as op
from onnxscript.values import Opset

from rewardserve_export.graph._attention import ATTENTION_DOMAIN

__all__ = ["CUDA_FUNCTIONS"]

_domain = Opset(ATTENTION_DOMAIN, 1)
_contrib = Opset("com.microsoft", 1)

CHUNK_TOKENS = 8192
"""Padded tokens of one chunk, unless a single row is longer: bounds both the padding and the memory of a layer."""


@script(_domain, default_opset=op)
def SegmentRows(blocks: INT64[...]):
    """Blocks [B, 6] -> first own token, first prefix token, prefix length, whole length [R, 4], longest first."""
    start = op.Gather(blocks, 2, axis=1)
    following = op.Concat(op.Slice(start, [1], op.Shape(start), [0]), [-1], axis=0)
    last = op.Compress(blocks, op.Not(op.Equal(start, following)), axis=0)
    _q_start, _q_end, k_start, k_end, p_start, p_length = op.Split(last, axis=1, num_outputs=6)
    rows = op.Concat(k_start, p_start, p_length, p_length + k_end - k_start, axis=1)
    length = op.Gather(rows, 3, axis=1)
    _length, order = op.TopK(length, op.Shape(length))
    return op.Gather(rows, order, axis=0)


@script(_domain, default_opset=op)
def AttentionRows(blocks: INT64[...], query: FLOAT[...]):
    """Blocks [B, 6] of a query [1, heads, T, D] -> what every layer's attention needs.

    For each chunk the tokens [r, L] of its rows and their lengths - 1 [r]; and for each token its place [T] among the
    rows of all chunks.
    """
    rows = SegmentRows(blocks)
    count = op.Squeeze(op.Shape(rows, start=0, end=1))
    filler = op.Squeeze(op.Shape(query, start=2, end=3))
    tokens = op.SequenceEmpty(dtype=7)
    lengths = op.SequenceEmpty(dtype=6)
    owned = op.SequenceEmpty(dtype=7)
    first = op.Constant(value_int=0)
    more = op.Less(first, count)
    while more:
        at = op.Unsqueeze(first, [0])
        longest = op.Squeeze(op.Slice(op.Slice(rows, at, at + 1, [0]), [3], [4], [1]))
        size = op.Max(op.Div(op.Constant(value_int=CHUNK_TOKENS), longest), op.Constant(value_int=1))
        chunk = op.Slice(rows, at, at + size, [0])
        own, prefix, p_length, length = op.Split(chunk, axis=1, num_outputs=4)
        column = op.Unsqueeze(op.Range(op.Constant(value_int=0), longest, op.Constant(value_int=1)), [0])
        token = op.Where(op.Less(column, p_length), prefix + column, own - p_length + column)
        inside = op.Less(column, length)
        # Padding: any token will do, no row that counts attends to it.
        token = op.Where(inside, token, op.Constant(value_int=0))
        tokens = op.SequenceInsert(tokens, token)
        lengths = op.SequenceInsert(lengths, op.Cast(op.Squeeze(length, [1]) - 1, to=6))
        mine = op.And(inside, op.Not(op.Less(column, p_length)))
        owned = op.SequenceInsert(owned, op.Reshape(op.Where(mine, token, filler), [-1]))
        first = first + size
        more = op.Less(first, count)
    owners = op.ConcatFromSequence(owned, axis=0)
    place = op.Range(op.Constant(value_int=0), op.Squeeze(op.Shape(owners)), op.Constant(value_int=1))
    places = op.ScatterElements(op.Expand(op.Constant(value_int=0), op.Unsqueeze(filler + 1, [0])), owners, place)
    return tokens, lengths, op.Slice(places, [0], [-1], [0])


@script(_domain, default_opset=op)
def Flat(states: FLOAT[...]):
    """States [1, heads, T, D] -> [T, heads x D]."""
    return op.Reshape(op.Transpose(op.Squeeze(states, [0]), perm=[1, 0, 2]), [0, -1])


@script(_domain, default_opset=op)
def PackedAttention(
    query: FLOAT[...],
    key: FLOAT[...],
    value: FLOAT[...],
    tokens,
    lengths,
    places: INT64[...],
    scale: float,
    softcap: float,
    num_heads: int,
    kv_num_heads: int,
):
    """Query [1, heads, T, D], key and value [1, key-value heads, T, D], AttentionRows -> [1, T, heads, D]."""
    queries = Flat(query)
    keys = Flat(key)
    values = Flat(value)
    output = op.SequenceEmpty()
    for index in range(op.SequenceLength(tokens)):
        token = op.SequenceAt(tokens, index)
        longest = op.Cast(op.Squeeze(op.Shape(token, start=1, end=2)), to=6)
        attended, _present_key, _present_value = _contrib.GroupQueryAttention(
            op.Gather(queries, token, axis=0),
            op.Gather(keys, token, axis=0),
            op.Gather(values, token, axis=0),
            None,
            None,
            op.SequenceAt(lengths, index),
            longest,
            num_heads=num_heads,
            kv_num_heads=kv_num_heads,
            scale=scale,
            softcap=softcap,
        )
        width = op.Shape(queries, start=1, end=2)
        flat = op.Reshape(attended, op.Concat([-1], width, axis=0))
        # ONNX has sequences of float32, but none of bfloat16.
        output = op.SequenceInsert(output, op.Cast(flat, to=1))
    mine = op.CastLike(op.Gather(op.ConcatFromSequence(output, axis=0), places, axis=0), query)
    minus_one = op.Constant(value_ints=[-1])
    heads = op.Concat([1], minus_one, op.Shape(query, start=1, end=2), op.Shape(query, start=3, end=4), axis=0)
    return op.Reshape(mine, heads)


CUDA_FUNCTIONS = (SegmentRows, AttentionRows, Flat, PackedAttention)
