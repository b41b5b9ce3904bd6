"""The check that every export passes before it is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rewardserve import _wire
from rewardserve._contract import Parity
from rewardserve._errors import ParityError

from rewardserve_export.checkpoint import Float32Arithmetic, RewardModel
from rewardserve_export.graph import GraphLimits, Precision, in_precision
from rewardserve_export.parity._compositions import each_its_own_request, one_batch, prefixes_shared, shuffled
from rewardserve_export.parity._graphs import Graph, exported_graph, rewards_of
from rewardserve_export.parity._scorers import (
    Composition,
    Rewards,
    Tokens,
    difference,
    eager_runner,
    packed_scorer,
    reduced_scorer,
    transformers_scorer,
)

__all__ = ["FP32_TOLERANCE", "REDUCED_MULTIPLE", "allowed_difference", "check_parity", "parity_sequences"]

FP32_TOLERANCE = 1e-4
"""Largest difference allowed, relative to rewards above 1: sums of some thousand float32 terms, in another order,
through some dozens of layers, differ by 1e-6 to 1e-5; a wrong mask or position differs by 1e-2 and more."""

REDUCED_MULTIPLE = 3.0
"""In a reduced precision, the graph may be this many times as far from float32 as transformers in that precision: both
round as often, but not the same numbers, and the largest of a dozen differences varies by a factor of about 2."""

_PROMPT, _LONG = 40, 600
_LENGTHS = (1, 2, 17, 63, 255, 256, 257, _LONG)
"""One token, few, and both sides of the attention's block size; the longest spans several blocks."""
_RESPONSES = (1, 30, 300)

_LARGE = 4 << 30
"""Bytes of float32 weights from which few sequences must do: each is a pass over all weights. What they leave out,
block sizes and orders, depends on the architecture and on the way of packing, which smaller models share."""
_LARGE_LENGTHS, _LARGE_RESPONSES = (1, 257), (30,)


def check_parity(
    model: RewardModel,
    graph: Path,
    limits: GraphLimits,
    progress: Callable[[int, int], None],
    precision: Precision = "fp32",
    *,
    record: Callable[[Sequence[Tokens], Rewards, float], None] = lambda *_: None,
) -> Parity:
    """Compares transformers, the packed model in PyTorch, and the exported graph, over several batch compositions.

    All on the CPU. The packed model is compared in float32, which shows wrong positions and masks; the graph as it is,
    but for ONNX in fp16 and bf16: that runs as its float32 twin (see `float32_twin`), and its CUDA kernels on the
    server for the first time, where `rewardserve verify` compares them.

    Args:
        model: The checkpoint's, in float32 or in `Float32Arithmetic`.
        graph: The exported `model.onnx` or `model.pt`.
        limits: That the graph was traced with.
        progress: Called with (steps done, steps in all).
        precision: That the graph was traced in.
        record: Called, when all agree, with the sequences, their rewards in float32, and the difference allowed.

    Raises:
        ParityError: A reward differs from transformers in float32 by more than `allowed_difference`.
    """
    large = sum(parameter.numel() for parameter in model.parameters()) * torch.float32.itemsize > _LARGE
    sequences = parity_sequences(limits, large=large)
    compositions: dict[str, Composition] = {
        "one batch": one_batch(limits.max_request_tokens, padded=limits.padded),
        "a request each": each_its_own_request,
    }
    if not large:
        compositions["shuffled"] = shuffled(1, limits.max_request_tokens, padded=limits.padded)
    if not limits.bidirectional:
        compositions["prefixes shared"] = prefixes_shared(limits.max_request_tokens, padded=limits.padded)
    reduced = precision != "fp32"
    steps = len(sequences) * (1 + reduced) + 1 + len(compositions)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, steps)

    with Float32Arithmetic():
        expected = transformers_scorer(model, advance)(sequences)
        eager = packed_scorer(eager_runner(model, limits), each_its_own_request, limits.identity)
        _require(expected, eager(sequences), sequences, "the packed model in PyTorch")
    advance()
    allowed = allowed_difference(expected)
    if reduced:
        allowed = allowed_difference(expected, reduced_scorer(model, precision, advance)(sequences), precision)
    results, largest = [], 0.0
    with exported_graph(graph, precision) as run:
        for name, compose in compositions.items():
            scores = packed_scorer(rewards_of(run), compose, limits.identity)(sequences)
            largest = max(largest, _require(expected, scores, sequences, f"the exported graph ({name})", allowed))
            results.append(scores)
            advance()
        if limits.values:
            largest = max(largest, _require_values(model, run, sequences, precision))
    record(sequences, expected, allowed)
    deviation = float(np.ptp(np.stack(results), axis=0).max())
    return Parity(sequences=len(sequences), largest_difference=largest, batch_deviation=deviation)


def allowed_difference(expected: Rewards, reduced: Rewards | None = None, precision: Precision = "fp32") -> float:
    """How far rewards may be from transformers in float32.

    Args:
        expected: Transformers in float32.
        reduced: Transformers in the precision of the graph, on the same sequences; None where it is float32.
        precision: Its name.

    Raises:
        ParityError: The precision can't hold this model's numbers.
    """
    if reduced is None:
        return FP32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    gap = difference(expected, reduced)
    if not np.isfinite(gap.largest):
        raise ParityError(
            f"transformers itself scores NaN or infinity in {precision}: this model's numbers are too large for it. "
            "Remedy: --precision bf16, or fp32"
        )
    return FP32_TOLERANCE * max(1.0, gap.scale) + REDUCED_MULTIPLE * gap.largest


def parity_sequences(limits: GraphLimits, *, large: bool = False) -> list[Tokens]:
    """Random token ids: several lengths, and a prompt with sequences that begin with it; few for a large model."""
    lengths, continued = (_LARGE_LENGTHS, _LARGE_RESPONSES) if large else (_LENGTHS, _RESPONSES)
    random = np.random.default_rng(0)

    def tokens(length: int) -> Tokens:
        return random.integers(0, limits.vocab_size, min(length, limits.max_length), dtype=np.int32)

    prompt = tokens(_PROMPT)
    responses = [tokens(length) for length in continued]
    whole = [np.concatenate([prompt, response])[: limits.max_length] for response in responses]
    return [tokens(length) for length in lengths] + [prompt, *whole]


def _require(
    expected: Rewards, actual: Rewards, sequences: Sequence[Tokens], what: str, allowed: float | None = None
) -> float:
    gap = difference(expected, actual)
    allowed = allowed_difference(expected) if allowed is None else allowed
    if not np.isfinite(gap.largest) or gap.largest > allowed:
        raise ParityError(
            f"{what} scores a sequence of {sequences[gap.index].size} tokens {gap.largest:.3g} away from transformers "
            f"(rewards up to {gap.scale:.3g}, {allowed:.3g} allowed): this architecture isn't traced exactly. "
            "Remedy: report it"
        )
    return gap.largest


def _require_values(model: RewardModel, run: Graph, sequences: Sequence[Tokens], precision: Precision) -> float:
    """The graph's values, all sequences in one batch, against the head at every token of each sequence alone."""
    requests = [(tokens, np.array([[tokens.size, 0]], dtype=np.int32)) for tokens in sequences]
    actual = run(_wire.graph_inputs(requests))[_wire.VALUES]
    with Float32Arithmetic():
        expected = _values(model, sequences)
    allowed = allowed_difference(expected)
    if precision != "fp32":
        with in_precision(model.backbone, precision):
            allowed = allowed_difference(expected, _values(model, sequences), precision)
    owners = [tokens for tokens in sequences for _ in range(tokens.size)]
    return _require(expected, actual, owners, "the exported graph (values)", allowed)


def _values(model: RewardModel, sequences: Sequence[Tokens]) -> Rewards:
    with torch.inference_mode():
        states = [
            model.backbone(input_ids=torch.from_numpy(tokens.astype(np.int64))[None]).last_hidden_state[0]
            for tokens in sequences
        ]
        return np.concatenate([model.head(state).numpy() for state in states])
