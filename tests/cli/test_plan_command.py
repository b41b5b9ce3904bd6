from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from rewardserve_export import ExportSummary
from safetensors import safe_open
from support.checkpoints import edit_tensors, save_huggingface

if TYPE_CHECKING:
    from conftest import Cells, Run

MAX_LENGTH = 512


def planned(run: Run, *arguments: str | Path) -> dict[str, Any]:
    outcome = run("plan", *arguments, "--max-length", str(MAX_LENGTH), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document: dict[str, Any] = json.loads(outcome.out)
    return document


def test_weights_are_those_of_the_export(run: Run, checkpoint: Path, exported: ExportSummary) -> None:
    """What the graph holds besides, rotary frequencies and the like, is small."""
    weights = planned(run, checkpoint)["memory"]["weights"]
    stored = onnx.load(exported.path / "model.onnx").graph.initializer
    floats = sum(4 * math.prod(tensor.dims) for tensor in stored if tensor.data_type == onnx.TensorProto.FLOAT)
    assert weights <= floats < 1.01 * weights


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_weights_by_precision(run: Run, checkpoint: Path, precision: str) -> None:
    with safe_open(checkpoint / "model.safetensors", framework="np") as tensors:
        shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118 - no dict
    everything = sum(math.prod(shape) for shape in shapes.values())
    linear = sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and "embed" not in name)
    expected = {
        "fp32": 4 * everything,
        "bf16": 2 * everything,
        "fp16": 2 * everything,
        "int8": 4 * everything - 3 * linear,
    }
    assert planned(run, checkpoint, "--precision", precision)["memory"]["weights"] == expected[precision]


def test_a_language_models_head_isnt_served(run: Run, tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path)
    without = planned(run, checkpoint)["memory"]
    with safe_open(checkpoint / "model.safetensors", framework="pt") as tensors:
        edit_tensors(checkpoint, {"lm_head.weight": tensors.get_tensor("model.embed_tokens.weight").clone()})
    assert planned(run, checkpoint)["memory"] == without


def test_the_largest_run_fits_and_the_next_doesnt(run: Run, checkpoint: Path) -> None:
    small = ("--gpu-memory", "1.8")
    largest = planned(run, checkpoint, *small)["largest_max_batch_tokens"]
    assert largest > MAX_LENGTH
    assert planned(run, checkpoint, *small, "--max-batch-tokens", str(largest))["instances"] == 1
    assert planned(run, checkpoint, *small, "--max-batch-tokens", str(largest + 256))["instances"] == 0


def test_replicas_of_a_measured_rate(run: Run, checkpoint: Path) -> None:
    rate = ("--tokens-per-second", "10000", "--tokens-per-rollout", "400")
    throughput = planned(run, checkpoint, *rate, "--rollouts-per-second", "60")["throughput"]
    assert (throughput["measured"], throughput["rollouts_per_second"], throughput["replicas"]) == (True, 25.0, 3)


def test_rate_of_a_device(run: Run, checkpoint: Path) -> None:
    throughput = planned(run, checkpoint, "--tflops", "1", "--utilisation", "0.5")["throughput"]
    with safe_open(checkpoint / "model.safetensors", framework="np") as tensors:
        sizes = [
            math.prod(shape)
            for name in tensors.keys()  # noqa: SIM118 - no dict
            if len(shape := tensors.get_slice(name).get_shape()) == 2 and "embed" not in name
        ]
    assert throughput["measured"] is False
    assert throughput["tokens_per_second"] == pytest.approx(0.5e12 / (2 * sum(sizes)))
    assert throughput["replicas"] is None


def test_table(run: Run, cells: Cells, checkpoint: Path) -> None:
    outcome = run(
        "plan", checkpoint, "--gpu-memory", "80", "--tokens-per-second", "9e4", "--rollouts-per-second", "500"
    )
    assert (outcome.code, outcome.err) == (0, "")
    rows = cells(outcome.out)
    assert rows["limits"] == "1,024 tokens a sequence, 4,096 a run"
    assert rows["besides"] == "1.50 GB, assumed: CUDA and libraries"
    assert "instances fit into 76.00 GB" in rows["on this GPU"]
    assert rows["one replica"] == "90,000 tokens/s (measured), 175.8 rollouts/s of 512 tokens"
    assert rows["replicas"] == "3, and one to spare"


def test_table_of_a_gpu_that_is_too_small(run: Run, cells: Cells, checkpoint: Path) -> None:
    assert "not even one sequence" in cells(run("plan", checkpoint, "--gpu-memory", "1.5").out)["on this GPU"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rollouts-per-second", "9"], "tokens_per_second, measured, or tflops"),
        (["--tflops", "9", "--tokens-per-second", "9"], "the measured figure alone"),
        (["--gpu-memory", "-1"], "gpu_memory is -1.0"),
        (["--tflops", "9", "--utilisation", "1.5"], "at most 1"),
        (["--max-length", "4096"], "more than the backbone's 1024 positions"),
    ],
)
def test_refused(run: Run, checkpoint: Path, arguments: list[str], message: str) -> None:
    outcome = run("plan", checkpoint, *arguments)
    assert outcome.code == 1
    assert message in outcome.err
