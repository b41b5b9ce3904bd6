"""From the wire contract's tensors to what a backbone needs: token ids, positions, attention blocks.

Every step is a tensor operation, so the same code runs eagerly and is traced into the exported graph. It holds the
graph's half of the isolation promise: whatever a request contains, no index leaves its range, no block is empty, and
every token belongs to exactly one block, so that a malformed request can't move another one's rewards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rewardserve._wire import FINGERPRINT_MODULUS
from torch import Tensor

__all__ = ["BLOCK_TOKENS", "GraphLimits", "PackedLayout", "lay_out"]

BLOCK_TOKENS = 256
"""Query tokens of an attention block: bounds the memory of a score matrix and skips most of its causal half."""


@dataclass(frozen=True, kw_only=True)
class GraphLimits:
    """What a request may hold, one beyond it being answered with NaN, and how the graph runs.

    Attributes:
        vocab_size: Token ids are 0 to vocab_size - 1.
        max_length: Tokens of one sequence, prefix included.
        max_request_tokens: Tokens of all segments of one request; with the padding, where it is padded.
        bidirectional: Whether tokens see later ones: then no segment may have a parent, since a prefix would depend on
            what follows it.
        padded: Whether the backbone is run over padded rows, one a sequence, instead of the packed one.
        values: Whether the head's output at every token is an output, too.
        identity: The reward contract's, added to every fingerprint.
    """

    vocab_size: int
    max_length: int
    max_request_tokens: int
    bidirectional: bool = False
    padded: bool = False
    values: bool = False
    identity: int = 0


@dataclass(frozen=True, kw_only=True)
class PackedLayout:
    """One packed row, ready for the backbone: T tokens, N segments, B attention blocks.

    Attributes:
        input_ids: int64 [T + 1], clamped into the vocabulary, a filler token at the end.
        position_ids: int64 [T + 1], restarting at every sequence, continuing a parent's.
        blocks: int64 [B, 6], for each attention block: first query token, last query token + 1, first key token of its
            own segment, last one + 1, first token of its prefix, length of its prefix.
        segment_of: int64 [T + 1], the segment that each token belongs to; N where a request is malformed.
        spans: int64 [N, 4], each segment's first token and length, its prefix's first token and length; one filler
            token for malformed requests.
        valid: bool [N], whether the segment's request is well formed.
        fingerprints: int64 [N], as in the wire contract; -1 for malformed requests.
    """

    input_ids: Tensor
    position_ids: Tensor
    blocks: Tensor
    segment_of: Tensor
    spans: Tensor
    valid: Tensor
    fingerprints: Tensor


@dataclass(frozen=True, kw_only=True)
class _Requests:
    """R requests: their tokens and segments are start to end - 1, int64 [R] each."""

    token_start: Tensor
    token_end: Tensor
    segment_start: Tensor
    segment_end: Tensor


@dataclass(frozen=True, kw_only=True)
class _Segments:
    """N segments: first token, length, index of the parent (their own where there is none). Trusted where valid."""

    start: Tensor
    length: Tensor
    parent: Tensor
    has_parent: Tensor
    valid: Tensor

    def of_parent(self, values: Tensor) -> Tensor:
        """`values` [N] at each segment's parent, 0 for segments without one."""
        return torch.where(self.has_parent, values[self.parent], 0)


def lay_out(
    input_ids: Tensor, segments: Tensor, request_tokens: Tensor, request_segments: Tensor, limits: GraphLimits
) -> PackedLayout:
    """Checks the requests of one batch and lays their tokens out as one row.

    One filler token is appended: an empty batch is then no special case, and segments of malformed requests have a
    token to point at.

    Args:
        input_ids: int32 [T], the requests' tokens, concatenated.
        segments: int32 [2N], (length, parent) of all segments, flat.
        request_tokens: int32 [R], tokens up to and including each request, as the server counted them.
        request_segments: int32 [R], the same count of elements of `segments`: twice the segments.
        limits: What a request may hold.
    """
    raw_ids = torch.cat([input_ids.long(), torch.zeros_like(request_tokens[:1], dtype=torch.long)])
    filler = raw_ids.shape[0] - 1
    tokens = _index(raw_ids)
    token_end, segment_end = request_tokens.long(), request_segments.long() // 2
    requests = _Requests(
        token_start=_starts(token_end), token_end=token_end, segment_start=_starts(segment_end), segment_end=segment_end
    )
    in_vocabulary = (raw_ids >= 0) & (raw_ids < limits.vocab_size)
    spans, request_valid = _check(segments, in_vocabulary, requests, limits)

    start = torch.where(spans.valid, spans.start, filler)
    end = torch.where(spans.valid, spans.start + spans.length, filler)
    segment_of, segment_start = _assign_tokens(tokens, start, spans.valid, request_valid, requests, limits)
    prefix = [torch.where(spans.valid, spans.of_parent(values), 0) for values in (spans.start, spans.length)]
    # Index N: tokens that no valid segment owns. They have no prefix.
    prefix_start, prefix_length = (_append(values, 0)[segment_of] for values in prefix)

    ids = torch.where(in_vocabulary, raw_ids, 0)
    positions = tokens - segment_start + prefix_length
    own = _sum_ranges((ids + 1) * (positions + 1), start, end)
    fingerprints = (own + spans.of_parent(own) + limits.identity) % FINGERPRINT_MODULUS
    return PackedLayout(
        input_ids=ids,
        position_ids=positions,
        blocks=_blocks(tokens, segment_start, prefix_start, prefix_length, limits),
        segment_of=segment_of,
        spans=torch.stack([start, torch.where(spans.valid, spans.length, 1), *prefix], dim=1),
        valid=spans.valid,
        fingerprints=torch.where(spans.valid, fingerprints, -1),
    )


def _check(
    segments: Tensor, in_vocabulary: Tensor, requests: _Requests, limits: GraphLimits
) -> tuple[_Segments, Tensor]:
    """Finds each segment's tokens, and which requests [R] are well formed."""
    raw_length, distance = segments[0::2].long(), segments[1::2].long()
    index = _index(raw_length)
    owner = _owner(index, requests.segment_end)
    length_ok = (raw_length >= 1) & (raw_length <= limits.max_length)
    # Lengths that can't be right count as 0 from here on: sums stay far from overflow.
    length = torch.where(length_ok, raw_length, 0)

    parent = index - distance
    first = requests.segment_start[owner]
    has_parent = (distance > 0) & (parent >= first)
    parent = torch.where(has_parent, parent, index)
    parent_ok = distance == 0
    if not limits.bidirectional:
        parent_ok = parent_ok | (has_parent & (distance[parent] == 0))
    total = length + torch.where(has_parent, length[parent], 0)
    total_ok = total <= limits.max_length
    if limits.padded:
        rows = (requests.segment_end - requests.segment_start)[owner]
        total_ok = total_ok & (total * rows <= limits.max_request_tokens)

    count = requests.token_end - requests.token_start
    malformed = ~(length_ok & parent_ok & total_ok)
    request_valid = (
        (_sum_ranges(malformed.long(), requests.segment_start, requests.segment_end) == 0)
        & (_sum_ranges(length, requests.segment_start, requests.segment_end) == count)
        & (_sum_ranges((~in_vocabulary).long(), requests.token_start, requests.token_end) == 0)
        & (count <= limits.max_request_tokens)
    )
    spans = _Segments(
        start=requests.token_start[owner] + _sum_ranges(length, first, index),
        length=length,
        parent=parent,
        has_parent=has_parent,
        valid=request_valid[owner],
    )
    return spans, request_valid


def _assign_tokens(
    tokens: Tensor, start: Tensor, valid: Tensor, request_valid: Tensor, requests: _Requests, limits: GraphLimits
) -> tuple[Tensor, Tensor]:
    """The segment [T + 1] each token belongs to, and where that segment starts.

    Tokens of malformed requests are cut into pieces of at most `max_length`, as segment N.
    """
    nobody = start.shape[0]
    index = torch.where(valid, _index(start), nobody)
    segment_at = torch.full_like(tokens, nobody).scatter(0, start, index)

    owner = _owner(tokens, requests.token_end)
    request_start = torch.cat([requests.token_start, requests.token_end[-1:]])[owner]
    unowned = ~_append(request_valid, False)[owner]
    piece_start = unowned & ((tokens - request_start) % limits.max_length == 0)

    is_start = (segment_at < nobody) | piece_start
    starts = torch.nonzero(is_start).squeeze(1)
    segment_start = starts[torch.cumsum(is_start.long(), 0) - 1]
    return segment_at[segment_start], segment_start


def _blocks(
    tokens: Tensor, segment_start: Tensor, prefix_start: Tensor, prefix_length: Tensor, limits: GraphLimits
) -> Tensor:
    """Cuts every segment into blocks of at most BLOCK_TOKENS query tokens; see `PackedLayout.blocks`."""
    start = torch.nonzero((tokens - segment_start) % BLOCK_TOKENS == 0).squeeze(1)
    end = torch.cat([start, tokens[-1:] + 1])[1:]
    key_end = _segment_ends(tokens, segment_start)[start] if limits.bidirectional else end
    columns = [start, end, segment_start[start], key_end, prefix_start[start], prefix_length[start]]
    return torch.stack(columns, dim=1)


def _segment_ends(tokens: Tensor, segment_start: Tensor) -> Tensor:
    """Behind which token [T + 1] each token's segment ends."""
    starts = torch.nonzero(tokens == segment_start).squeeze(1)
    ends = torch.cat([starts, tokens[-1:] + 1])[1:]
    return ends[torch.cumsum((tokens == segment_start).long(), 0) - 1]


def _index(values: Tensor) -> Tensor:
    """0, 1, …, one for each of the values [n]; a trace of `torch.arange` would be bound to a device."""
    return torch.cumsum(torch.ones_like(values, dtype=torch.long), 0) - 1


def _owner(index: Tensor, ends: Tensor) -> Tensor:
    """Which of the ranges that end (exclusively) at `ends` [R] each index falls into; R beyond the last."""
    return (index[:, None] >= ends[None, :]).long().sum(1)


def _starts(ends: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])


def _append(values: Tensor, last: int | bool) -> Tensor:
    return torch.nn.functional.pad(values.long(), (0, 1), value=int(last)).to(values.dtype)


def _sum_ranges(values: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Sums of values[start:end], for many ranges at once."""
    sums = torch.nn.functional.pad(torch.cumsum(values, 0), (1, 0))
    return sums[end] - sums[start]
