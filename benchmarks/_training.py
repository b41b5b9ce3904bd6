"""`training`: a language model trained on human preferences, in float32 and in bfloat16, and served."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._setup import KEPT, Setup, say

__all__ = ["smollm2", "training"]

EXAMPLE = Path(__file__).parent.parent / "examples" / "smollm2.py"
HELD_OUT, MAX_LENGTH = 400, 256
RECIPE = ("--train-layers", "8", "--learning-rate", "1e-4", "--batch-size", "8", "--max-steps", "80")
UNTRAINED = ("--train-layers", "0", "--learning-rate", "1e-30", "--max-steps", "1")
"""A step that moves nothing: what remains is the new head."""


def training(setup: Setup) -> dict[str, Any]:
    """SmolLM2-135M: its last eight layers and a new head, on pairs of human preferences."""
    with TemporaryDirectory() as directory:
        data = _split(setup.data_file, Path(directory))
        base = smollm2()
        runs = {
            "untrained": _train(base, data, Path(directory) / "untrained", *UNTRAINED),
            "fp32": _train(base, data, Path(directory) / "fp32", *RECIPE),
            "bf16": _train(base, data, Path(directory) / "bf16", *RECIPE, "--precision", "bf16"),
        }
        rewards = {name: run.pop("rewards") for name, run in runs.items()}
        longer = [run.pop("longer") for run in runs.values()]
        margins = {name: found[:, 0] - found[:, 1] for name, found in rewards.items()}
        return {
            "what": (
                f"rewardserve train on preference pairs of up to {MAX_LENGTH} tokens a dialogue; accuracy on those of "
                f"{HELD_OUT} held out, with 95% Wilson intervals. untrained: the new head alone"
            ),
            "recipe": " ".join(RECIPE),
            "runs": runs,
            "longer_is_better": _share(longer[0]),
            "bf16_decides_as_fp32": _share(np.sign(margins["fp32"]) == np.sign(margins["bf16"])),
            "largest_difference_of_rewards": float(np.abs(rewards["fp32"] - rewards["bf16"]).max()),
            "served": _served(Path(directory), rewards["fp32"]),
        }


def _split(source: Path, directory: Path) -> tuple[Path, Path]:
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = list(lines)
    parts = directory / "train.jsonl", directory / "held_out.jsonl"
    for path, part in zip(parts, (rows[:-HELD_OUT], rows[-HELD_OUT:]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return parts


def smollm2() -> Path:
    """The language model, from the package that carries it."""
    directory = KEPT / "smollm2-135m"
    if not (directory / "model.safetensors").is_file():
        subprocess.run([sys.executable, str(EXAMPLE), str(directory)], check=True, stdout=sys.stderr)
    return directory


def _train(base: Path, data: tuple[Path, Path], output: Path, *options: str) -> dict[str, Any]:
    say(f"training: {output.name}")
    command = [sys.executable, "-m", "rewardserve_training", str(base), "--data", str(data[0])]
    command += ["--eval-data", str(data[1]), "--output", str(output), "--max-length", str(MAX_LENGTH), *options]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds = time.monotonic() - started
    rows = _lines(output / "evaluation.jsonl")
    log = _lines(output / "training_log.jsonl")
    whole = next(entry for entry in log if "train_runtime" in entry)
    rewards = np.array([[row["chosen_reward"], row["rejected_reward"]] for row in rows])
    return {
        "rewards": rewards,
        "longer": np.array([row["chosen_tokens"] > row["rejected_tokens"] for row in rows]),
        "accuracy": _share(rewards[:, 0] > rewards[:, 1]),
        "seconds": seconds,
        "steps_per_second": whole["train_steps_per_second"],
        "losses": [entry["loss"] for entry in log if "loss" in entry],
        "pairs": json.loads((output / "training.json").read_text())["pairs"],
    }


def _served(directory: Path, expected: npt.NDArray[Any]) -> dict[str, Any]:
    """The checkpoint, exported without an option that says how it was trained, and served."""
    from rewardserve import RewardClient
    from rewardserve_evaluation import evaluate, read_preferences
    from rewardserve_export import ExportOptions, export
    from rewardserve_server import ServeOptions, TritonProcess

    say("training: export, serve, evaluate")
    repository = directory / "repository"
    export(directory / "fp32", ExportOptions(repository=repository, max_length=MAX_LENGTH, format="torchscript"))
    with TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)) as process:
        process.wait_until_ready()
        with RewardClient(process.grpc_url) as client:
            pairs = read_preferences(directory / "held_out.jsonl")
            found = evaluate(pairs, client, skip_too_long=True)
    rewards = np.array([[row.chosen[0], row.rejected[0]] for row in found.scored])
    return {
        "accuracy": _share(rewards[:, 0] > rewards[:, 1]),
        "largest_difference_from_the_training's_evaluation": float(np.abs(rewards - expected).max()),
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _share(right: Sequence[bool] | npt.NDArray[np.bool_]) -> dict[str, float]:
    from rewardserve_evaluation import wilson_interval

    count, total = int(np.sum(right)), len(right)
    low, high = wilson_interval(count, total)
    return {"right": count, "of": total, "share": count / total, "low": low, "high": high}
