"""What a training makes of its data, and which weights it changes."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rewardserve_training import TrainProgress, train
from safetensors.torch import load_file
from support.training import read_lines, train_options

if TYPE_CHECKING:
    from conftest import Trained


def losses(directory: Path) -> list[float]:
    return [entry["loss"] for entry in read_lines(directory / "training_log.jsonl") if "loss" in entry]


def test_the_loss_falls_and_held_out_pairs_are_ranked(trained: Trained) -> None:
    log = losses(trained.path)
    assert len(log) == 40
    # One pair in ten is labelled wrongly: log 2 = 0.69 is where it starts.
    assert statistics.mean(log[:3]) > 0.6
    assert statistics.mean(log[-10:]) < 0.5
    accuracy = trained.summary.accuracy
    assert accuracy is not None
    assert accuracy.rows == 24
    assert accuracy.accuracy > 0.75
    while_training = [entry for entry in read_lines(trained.path / "training_log.jsonl") if "eval_loss" in entry]
    assert [entry["step"] for entry in while_training] == [20, 40]
    assert while_training[-1]["eval_accuracy"] == pytest.approx(accuracy.accuracy)


def test_progress_is_told(base: Path, data: Path, tmp_path: Path) -> None:
    told: list[TrainProgress] = []
    options = train_options(data, tmp_path / "model", max_steps=4, logging_steps=2, eval_steps=2)
    train(base, options, progress=told.append)
    assert {progress.steps for progress in told} == {4}
    assert [progress.step for progress in told if progress.loss is None] == [1, 2, 3, 4]
    log = [entry for entry in read_lines(tmp_path / "model" / "training_log.jsonl") if "loss" in entry]
    names = ("step", "loss", "accuracy", "margin")
    lines = [[getattr(progress, name) for name in names] for progress in told if progress.loss is not None]
    assert lines == [[entry[name] for name in names] for entry in log]
    assert [line[0] for line in lines] == [1, 2, 4]


def test_evaluation_file_holds_every_pair(trained: Trained) -> None:
    rows = read_lines(trained.path / "evaluation.jsonl")
    assert len({row["line"] for row in rows}) == 24
    assert all(row["chosen_tokens"] > 1 and row["rejected_tokens"] > 1 for row in rows)
    rewards = [row[name] for row in rows for name in ("chosen_reward", "rejected_reward")]
    # Normalised by their own mean and standard deviation.
    assert statistics.mean(rewards) == pytest.approx(0, abs=1e-5)
    assert statistics.stdev(rewards) == pytest.approx(1, abs=1e-5)
    config = json.loads((trained.path / "config.json").read_text())
    assert config["normalize_reward"] is True
    assert config["mean"] == pytest.approx(trained.summary.mean)
    assert config["std"] == pytest.approx(trained.summary.std)


@pytest.mark.parametrize(
    ("changes", "trained_keys"),
    [
        ({}, ""),
        ({"lora_rank": 4}, "_proj.weight"),
        ({"train_layers": 1}, "layers.1."),
        ({"train_layers": 0}, "nothing but the head"),
    ],
    ids=str,
)
def test_exactly_the_trainable_weights_change(
    base: Path, data: Path, tmp_path: Path, changes: dict[str, Any], trained_keys: str
) -> None:
    summary = train(base, train_options(data, tmp_path / "model", max_steps=3, init_value_head=True, **changes))
    assert summary is not None
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert set(before) - {"lm_head.weight"} == set(after) - {"score.weight"}
    changed = {key for key in before if key in after and not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key in after and trained_keys in key}
    generator = torch.Generator().manual_seed(0)
    drawn = torch.normal(0, 1 / 33, (1, 32), generator=generator)
    assert after["score.weight"].shape == (1, 32)
    assert not torch.equal(after["score.weight"], drawn)
    assert (after["score.weight"] - drawn).abs().max() < 0.02  # three steps away from where it was drawn


def test_margin_and_centring_reach_the_loss(base: Path, data: Path, tmp_path: Path) -> None:
    """At a new head all rewards are near 0: the loss is softplus(margin)."""
    rows = [{**row, "margin": 2.0} for row in read_lines(data)]
    (tmp_path / "margins.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(base, train_options(tmp_path / "margins.jsonl", tmp_path / "margin", max_steps=1))
    assert losses(tmp_path / "margin")[0] == pytest.approx(2.127, abs=0.2)
    plain, centred = (
        train(base, train_options(data, tmp_path / name, center_rewards=weight, max_steps=20))
        for name, weight in (("plain", None), ("centred", 10.0))
    )
    assert plain is not None
    assert centred is not None
    assert abs(centred.mean or 0) < abs(plain.mean or 0) / 2
