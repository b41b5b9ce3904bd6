"""`gpu`: a large Llama with random weights in one process: our packed graph against transformers' padded batches."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._gpu_scorers import (
    LARGEST_RUN,
    SIZES,
    PackedScorer,
    PaddedScorer,
    Size,
    engine_of,
    padded_batches,
    random_model,
)
from benchmarks._setup import BenchmarkError, Setup, say
from benchmarks._summary import interleaved, ratios, summary
from benchmarks._workloads import TokenSource, Workload, w1, w2, w3

if TYPE_CHECKING:
    from rewardserve_export.graph import Precision
    from rewardserve_export.runtime.torch_engine import TorchEngine

__all__ = ["gpu"]

_PRECISIONS: tuple[Precision, ...] = ("bf16", "fp16")
_RUN_TOKENS = (4096, 8192, 16_384, LARGEST_RUN)
_TIMED_RUN_TOKENS = 16_384
_PRODUCTS = 10
_TOLERANCE = 0.5
"""Of the rewards' standard deviation, as for servers: another pooling, mask or head is at 1 and more."""


def gpu(setup: Setup) -> dict[str, Any]:
    """W1 to W3, scaled up, in bf16 and fp16, on the GPU; where there is none, on the CPU."""
    import torch

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    name = setup.size or ("tiny" if device == "cpu" else "8b")
    return {
        "what": (
            "a Llama with random weights, in one process: our TorchScript graph as the Python backend runs it, "
            f"requests merged into runs of {_TIMED_RUN_TOKENS:,} tokens, prompts shared as the client does, against "
            "transformers with sdpa attention in batches of 32, padded on the right; both on the same device, in "
            "turns. share_of_peak is 2 x parameters (without the embedding) x tokens / seconds, divided by the rate "
            "of one large matrix product"
        ),
        "device": torch.cuda.get_device_name(0) if device != "cpu" else "cpu: shows that it runs, not how fast",
        "size": name,
        **{precision: _in_precision(SIZES[name], precision, device, setup.runs) for precision in _PRECISIONS},
    }


def _in_precision(size: Size, precision: Precision, device: str, runs: int) -> dict[str, Any]:
    say(f"gpu: making and exporting the model, {precision}")
    gc.collect()  # of the precision before: the GPU wouldn't hold both
    model = random_model(size, precision, device)
    weights = dict(model.backbone.named_parameters())
    parameters = sum(weight.numel() for name, weight in weights.items() if not name.startswith("embed_tokens"))
    engine = engine_of(model.to("cpu"), precision, device)
    tokens = TokenSource(size.config["vocab_size"], seed=0)
    workloads = [make(tokens, size.lengths) for make in (w1, w2, w3)]
    # Before transformers' copy of the weights is there, too.
    memory = _memory(engine, workloads[1]) if device != "cpu" else "not measured: no GPU"
    peak = _product_rate(size.square, precision, device)
    packed, padded = PackedScorer(engine, _TIMED_RUN_TOKENS), PaddedScorer(model.to(device))
    result: dict[str, Any] = {"parameters": parameters, "peak_tflops": peak / 1e12, "memory": memory}
    for workload in workloads:
        measured = _compared(workload, packed, padded, runs)
        for side in (measured["packed"], measured["padded"]):
            side["share_of_peak"] = 2 * parameters * side["tokens_per_second"]["median"] / peak
        result[workload.name] = measured
        say(f"gpu: {precision} {workload.name}: {measured}")  # not lost if the machine is taken away
    return result


def _compared(workload: Workload, packed: PackedScorer, padded: PaddedScorer, runs: int) -> dict[str, Any]:
    batches = padded_batches(workload)
    rewards, computed = packed.score(workload.requests)
    expected = padded.score(batches.requests)
    difference, spread = float(np.abs(rewards - expected).max()), float(expected.std())
    if not difference <= _TOLERANCE * spread:
        raise BenchmarkError(
            f"{workload.name}: rewards are up to {difference:.3g} off transformers', whose spread is {spread:.3g}: "
            "the graph computes something else"
        )
    # Each ends by copying rewards to the CPU: what it started on the GPU is done.
    cases: dict[str, Callable[[], object]] = {
        "packed": lambda: packed.score(workload.requests),
        "padded": lambda: padded.score(batches.requests),
    }
    seconds = interleaved(cases, runs)
    counts = {"packed": computed, "padded": batches.padded_tokens}
    sides = {
        name: {
            "tokens_per_second": summary([workload.tokens / value for value in values]),
            "computed_tokens": counts[name],
        }
        for name, values in seconds.items()
    }
    return {
        "sequences": workload.sequences,
        "tokens": workload.tokens,
        **sides,
        "padded_seconds_by_packed": ratios(seconds["padded"], seconds["packed"]),
        "largest_difference": difference,
        "std_of_rewards": spread,
    }


def _memory(engine: TorchEngine, workload: Workload) -> dict[str, float]:
    """GiB of the GPU's memory that tensors take at most, weights included, for each `max_batch_tokens`."""
    import torch

    figures = {"weights_gib": torch.cuda.memory_allocated() / 2**30}
    for run_tokens in _RUN_TOKENS:
        torch.cuda.reset_peak_memory_stats()
        PackedScorer(engine, run_tokens).score(workload.requests)
        figures[f"{run_tokens}_tokens_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def _product_rate(square: int, precision: Precision, device: str) -> float:
    """FLOP/s of products of two square random matrices: the best of some averages."""
    import torch
    from rewardserve_export.graph import HALF_PRECISIONS

    left, right = (torch.randn(square, square, device=device).to(HALF_PRECISIONS[precision]) for _ in range(2))

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(_PRODUCTS):
            left @ right
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    seconds()
    return 2 * square**3 * _PRODUCTS / min(seconds() for _ in range(5))
