"""The wire contract: the tensors that client and server exchange, and what makes a request well formed.

numpy and the standard library only, and no import of ours: an export copies this file beside the Python backend's
`model.py`, so that both ends of the wire run the same lines.

A request is a *packed* request: any number of token segments, concatenated, in a Triton batch of 1.

| tensor         | dtype | shape     | meaning                                                                    |
|----------------|-------|-----------|----------------------------------------------------------------------------|
| `input_ids`    | INT32 | [1, T]    | the tokens of all segments, one after another, no padding                  |
| `segments`     | INT32 | [1, N, 2] | each segment's length and parent: 0 starts a sequence, k > 0 continues the |
|                |       |           | sequence-starting segment k places before it                               |
| `rewards`      | FP32  | [1, N]    | the value head's output at each segment's scored token; [1, N, K] with K   |
|                |       |           | labels                                                                     |
| `fingerprints` | INT32 | [1, N]    | of the tokens each reward was computed from, prefix included, and of the   |
|                |       |           | model that computed it                                                     |
| `values`       | FP32  | [1, T]    | optional: the value head's output at every token                           |

A fingerprint is (the sum of (id + 1)(position + 1) over the tokens + the model's identity) modulo 2^31 - 1. The
identity is a constant of the graph, written in the reward contract: a server that was restarted with another model
answers fingerprints that are all off by one and the same number. Segments of a malformed request have -1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "FINGERPRINTS",
    "FINGERPRINT_MODULUS",
    "INPUT_IDS",
    "REQUEST_SEGMENTS",
    "REQUEST_TOKENS",
    "REWARDS",
    "SEGMENTS",
    "VALUES",
    "fingerprint",
    "fingerprints",
    "graph_inputs",
    "identified",
    "problem_with",
    "rows_and_longest",
]

INPUT_IDS = "input_ids"
SEGMENTS = "segments"
REWARDS = "rewards"
FINGERPRINTS = "fingerprints"
VALUES = "values"
REQUEST_TOKENS = "request_tokens"
"""Graph input, INT32 [R]: tokens up to and including each request of a batch, counted by the server."""
REQUEST_SEGMENTS = "request_segments"
"""Graph input, INT32 [R]: the same for elements of `segments`, so twice the segments."""

FINGERPRINT_MODULUS = 2**31 - 1


def fingerprint(tokens: npt.NDArray[np.int32]) -> int:
    """The sum of (id + 1)(position + 1) over the tokens of one sequence, modulo 2^31 - 1; without an identity.

    Args:
        tokens: Token ids [T] of the whole sequence, prefix included.
    """
    ids = np.asarray(tokens, dtype=np.int64)
    # Reduced before they are added: the sum stays inside int64, whatever the ids and however many.
    terms = (ids + 1) * np.arange(1, ids.size + 1, dtype=np.int64) % FINGERPRINT_MODULUS
    return int(terms.sum() % FINGERPRINT_MODULUS)


def fingerprints(input_ids: npt.NDArray[np.int32], segments: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The same for each sequence of a well-formed request, int32 [N]; a prefix is summed up once.

    Args:
        input_ids: Token ids [T].
        segments: (length, parent) [N, 2].
    """
    lengths, parents = segments[:, 0].astype(np.int64), segments[:, 1]
    starts = np.cumsum(lengths) - lengths
    roots = np.arange(lengths.size) - parents
    continues = parents > 0
    origins = starts - np.where(continues, lengths[roots], 0)
    factors = np.arange(1, input_ids.size + 1) - np.repeat(origins, lengths)
    sums = np.add.reduceat((input_ids.astype(np.int64) + 1) * factors % FINGERPRINT_MODULUS, starts)
    sums += np.where(continues, sums[roots], 0)
    return (sums % FINGERPRINT_MODULUS).astype(np.int32)


def identified(fingerprints: npt.NDArray[np.int32], identity: int) -> npt.NDArray[np.int32]:
    """Fingerprints of tokens alone -> those that a model answers, int32 [N].

    Args:
        fingerprints: [N].
        identity: The model's.
    """
    return ((fingerprints.astype(np.int64) + identity) % FINGERPRINT_MODULUS).astype(np.int32)


def graph_inputs(
    requests: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]],
) -> dict[str, npt.NDArray[np.int32]]:
    """The inputs of the exported graph for one batch, as Triton's ragged batching builds them.

    Args:
        requests: (`input_ids` [T], `segments` [N, 2]) of each request.
    """
    ids, segments = zip(*requests, strict=True)
    return {
        INPUT_IDS: np.concatenate(ids),
        SEGMENTS: np.concatenate([pairs.reshape(-1) for pairs in segments]),
        REQUEST_TOKENS: np.cumsum([tokens.size for tokens in ids], dtype=np.int32),
        REQUEST_SEGMENTS: np.cumsum([pairs.size for pairs in segments], dtype=np.int32),
    }


def rows_and_longest(segments: npt.NDArray[np.int32]) -> tuple[int, int]:
    """What a well-formed request takes in a graph that pads: sequences, and tokens of the longest, prefix included.

    Args:
        segments: (length, parent) [N, 2].
    """
    lengths, parents = segments[:, 0], segments[:, 1]
    prefixes = np.where(parents > 0, lengths[np.arange(lengths.size) - parents], 0)
    return lengths.size, int((lengths + prefixes).max())


def problem_with(  # noqa: PLR0911 - one return a problem
    input_ids: npt.NDArray[np.int32],
    segments: npt.NDArray[np.int32],
    *,
    vocab_size: int,
    max_length: int,
    max_request_tokens: int,
    bidirectional: bool = False,
    padded: bool = False,
) -> str | None:
    """Says what is wrong with one packed request, or None if it is well formed.

    Args:
        input_ids: Token ids [T].
        segments: (length, parent) [N, 2].
        vocab_size: Token ids are 0 to vocab_size - 1.
        max_length: Tokens of one sequence, prefix included.
        max_request_tokens: Tokens of the whole request.
        bidirectional: Whether tokens see later ones, so that no segment may have a parent.
        padded: Whether the graph pads its sequences to the longest, so that the padding counts, too.
    """
    if segments.shape[0] == 0 or input_ids.size == 0:
        return f"needs at least one token and one segment, has {input_ids.size} and {segments.shape[0]}"
    if input_ids.size > max_request_tokens:
        return f"has {input_ids.size} tokens, the limit is {max_request_tokens}: send several requests"
    lengths, parents = segments[:, 0].astype(np.int64), segments[:, 1].astype(np.int64)
    if (bad := np.flatnonzero(lengths < 1)).size:
        return f"segment {bad[0]} has length {lengths[bad[0]]}, must be at least 1"
    if lengths.sum() != input_ids.size:
        return f"segment lengths add up to {lengths.sum()}, but there are {input_ids.size} tokens"
    index = np.arange(lengths.size)
    target = np.where((parents >= 0) & (parents <= index), index - parents, -1)
    if (bad := np.flatnonzero(target < 0)).size:
        return f"segment {bad[0]} has parent {parents[bad[0]]}, which points outside the request"
    if bidirectional and (bad := np.flatnonzero(parents)).size:
        return f"segment {bad[0]} has a parent, but a bidirectional model can't share prefixes"
    if (bad := np.flatnonzero((parents > 0) & (parents[target] > 0))).size:
        return (
            f"segment {bad[0]} continues segment {target[bad[0]]}, which has a parent itself: only one level is allowed"
        )
    totals = lengths + np.where(parents > 0, lengths[target], 0)
    if (bad := np.flatnonzero(totals > max_length)).size:
        return f"segment {bad[0]} ends a sequence of {totals[bad[0]]} tokens, the limit is {max_length}"
    if padded and totals.size * int(totals.max()) > max_request_tokens:
        return (
            f"takes {totals.size} rows of {totals.max()} tokens where this model pads, the limit is "
            f"{max_request_tokens}: send several requests"
        )
    if (bad := np.flatnonzero((input_ids < 0) | (input_ids >= vocab_size))).size:
        return f"token {bad[0]} is {input_ids[bad[0]]}, outside the vocabulary of {vocab_size}"
    return None
