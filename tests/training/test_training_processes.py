"""Two processes with half the batch each train what one process trains; launched as the documentation says."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rewardserve_training import train
from safetensors.torch import load_file
from support.training import read_lines, train_options

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
ROUNDING = 5e-6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_two_processes_train_what_one_does(base: Path, data: Path, tmp_path: Path) -> None:
    """The shipped configuration, on CPUs instead of GPUs: DDP over gloo."""
    train(base, train_options(data, tmp_path / "one", max_steps=6, learning_rate=1e-3, batch_size=8))
    config = tmp_path / "ddp.yaml"
    config.write_text((CONFIGS / "ddp.yaml").read_text() + "use_cpu: true\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
    launch += ["--main_process_port", str(free_port()), "-m", "rewardserve_training"]
    options = ["--data", str(data), "--output", str(tmp_path / "two"), "--eval-fraction", "0.2", "--max-steps", "6"]
    options += ["--learning-rate", "1e-3", "--batch-size", "4", "--logging-steps", "1"]
    ended = subprocess.run([*launch, str(base), *options], capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("next: rewardserve export") == 1  # one process prints
    assert ended.stderr.count(" of 6: loss ") == 6
    assert "'loss'" not in ended.stdout + ended.stderr  # the trainer's own log: dicts
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, atol=ROUNDING, rtol=0)
    ours, theirs = (read_lines(tmp_path / name / "evaluation.jsonl") for name in ("one", "two"))
    assert [row["line"] for row in ours] == [row["line"] for row in theirs]
    for name in ("chosen_reward", "rejected_reward"):
        assert [row[name] for row in theirs] == pytest.approx([row[name] for row in ours], abs=1e-4)
    logs = [
        [row["num_tokens"] for row in read_lines(tmp_path / name / "training_log.jsonl") if "loss" in row]
        for name in ("one", "two")
    ]
    assert logs[0] == logs[1]
