"""A training that is killed goes on from its last checkpoint, and ends where it would have ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rewardserve_training import TrainingError, train
from safetensors.torch import load_file
from support.training import read_lines, train_options

ROUNDING = 1e-4
"""Two processes sum in different orders on a busy machine: 1e-5 was seen in a loss of 0.6 after 60 updates."""


def losses(directory: Path) -> list[float]:
    return [entry["loss"] for entry in read_lines(directory / "training_log.jsonl") if "loss" in entry]


def kill_in_mid_training(command: list[str], output: Path) -> None:
    """SIGKILL once there is a checkpoint to go on from."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while not list((output / "checkpoints").glob("checkpoint-*/trainer_state.json")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (output / "model.safetensors").exists()


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_killed_and_resumed(base: Path, data: Path, tmp_path: Path, lora_rank: int | None) -> None:
    changes = {"max_steps": 60, "lora_rank": lora_rank, "learning_rate": 1e-3, "save_steps": 5}
    train(base, train_options(data, tmp_path / "whole", **changes))
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "rewardserve_training", str(base), "--data", str(data), "--output", str(killed)]
    command += ["--eval-fraction", "0.2", "--max-steps", "60", "--learning-rate", "1e-3", "--save-steps", "5"]
    command += ["--logging-steps", "1", *([] if lora_rank is None else ["--lora-rank", str(lora_rank)])]
    kill_in_mid_training(command, killed)
    summary = train(base, train_options(data, killed, resume=True, **changes))
    assert summary is not None
    assert summary.steps == 60
    whole, resumed = losses(tmp_path / "whole"), losses(killed)
    assert len(whole) == len(resumed) == 60
    assert resumed == pytest.approx(whole, abs=ROUNDING)
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    for key, tensor in load_file(killed / "model.safetensors").items():
        torch.testing.assert_close(tensor, weights[key], atol=ROUNDING, rtol=0)


def test_resume_without_a_checkpoint_starts_anew(base: Path, data: Path, tmp_path: Path) -> None:
    summary = train(base, train_options(data, tmp_path / "model", resume=True, max_steps=2))
    assert summary is not None
    assert summary.steps == 2


def test_an_incomplete_checkpoint_is_passed_over(base: Path, data: Path, tmp_path: Path) -> None:
    """Killed while it wrote one: without the trainer's state, which comes last."""
    train(base, train_options(data, tmp_path / "model", max_steps=4, save_steps=2))
    (tmp_path / "model" / "checkpoints" / "checkpoint-4" / "trainer_state.json").unlink()
    (tmp_path / "model" / "checkpoints" / "checkpoint-4" / "optimizer.pt").write_bytes(b"half of it")
    train(base, train_options(data, tmp_path / "model", max_steps=4, save_steps=2, resume=True))
    assert len(losses(tmp_path / "model")) == 4


@pytest.mark.parametrize("changed", ["learning_rate", "data"])
def test_another_training_is_not_gone_on_with(base: Path, data: Path, tmp_path: Path, changed: str) -> None:
    train(base, train_options(data, tmp_path / "model", max_steps=2))
    other = tmp_path / "other.jsonl"
    other.write_text("".join(data.read_text().splitlines(keepends=True)[1:]))
    options = {
        "learning_rate": train_options(data, tmp_path / "model", max_steps=2, resume=True, learning_rate=1e-2),
        "data": train_options(other, tmp_path / "model", max_steps=2, resume=True),
    }
    with pytest.raises(TrainingError, match=rf"was begun with another .*{changed}"):
        train(base, options[changed])


def test_a_directory_in_use_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"isn't empty. Remedy: another output; or resume"):
        train(base, train_options(data, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
