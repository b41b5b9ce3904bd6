"""The GPU benchmark, on the CPU with a tiny model: that both sides compute the same, and every figure is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks._gpu import gpu
from benchmarks._gpu_scorers import SIZES, PackedScorer, PaddedScorer, engine_of, padded_batches, random_model
from benchmarks._setup import BenchmarkError, Settings, Setup
from benchmarks._workloads import TokenSource, w1, w3


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    settings = Settings(
        checkpoint=tmp_path,
        data=tmp_path,
        repository=None,
        model="checkpoint",
        servers=(),
        runs=1,
        plots=None,
        size="tiny",
        minutes=1.0,
    )
    return Setup(settings, tmp_path)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_every_figure_is_there(setup: Setup) -> None:
    result = gpu(setup)
    assert result["size"] == "tiny"
    for precision in ("bf16", "fp16"):
        assert result[precision]["peak_tflops"] > 0
        assert "no GPU" in result[precision]["memory"]
        for name in ("W1", "W2", "W3"):
            check_workload(result[precision][name])
        w2, w3 = result[precision]["W2"], result[precision]["W3"]
        assert w2["packed"]["computed_tokens"] == w2["tokens"] < w2["padded"]["computed_tokens"]
        assert w3["packed"]["computed_tokens"] < w3["tokens"] / 3


def check_workload(measured: dict[str, Any]) -> None:
    # bfloat16 has 8 bits: rewards with a spread of 1 are off by some hundredths.
    assert measured["largest_difference"] < 0.05 * measured["std_of_rewards"]
    assert measured["padded_seconds_by_packed"]["median"] > 0
    for side in ("packed", "padded"):
        assert measured[side]["tokens_per_second"]["median"] > 0
        assert measured[side]["share_of_peak"] > 0


@pytest.mark.parametrize("run_tokens", [160, 4096])
def test_the_size_of_runs_does_not_matter(run_tokens: int) -> None:
    size = SIZES["tiny"]
    model = random_model(size, "bf16", "cpu")
    packed, padded = PackedScorer(engine_of(model, "bf16", "cpu"), run_tokens), PaddedScorer(model)
    workload = w3(TokenSource(size.config["vocab_size"], seed=1), size.lengths)
    rewards, _ = packed.score(workload.requests)
    assert np.allclose(rewards, padded.score(padded_batches(workload).requests), atol=0.05)
    assert rewards.std() > 0.3


def test_a_model_that_computes_something_else_is_an_error(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    score = PaddedScorer.score
    monkeypatch.setattr(PaddedScorer, "score", lambda self, batches: np.roll(score(self, batches), 1))
    with pytest.raises(BenchmarkError, match=r"W1: rewards are up to .* off transformers'"):
        gpu(setup)


def test_batches_hold_the_sequences_in_order() -> None:
    workload = w1(TokenSource(32_000, seed=0))
    batches = padded_batches(workload)
    assert [len(batch) for batch in batches.requests] == [32, 32, 32, 32]
    assert [sequence for batch in batches.requests for sequence in batch] == [r[0] for r in workload.requests]
