"""Errors in the data name the file, the line and the field; errors in the options the option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rewardserve_evaluation import PreferencesError
from rewardserve_training import TrainingError, TrainOptions, train
from support.training import read_lines, train_options

GOOD = {"prompt": "the ", "chosen": "good", "rejected": "bad"}


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"chosen": "good"}, "rejected", "is missing"),
        ({**GOOD, "chosen": 7}, "chosen", "is a number"),
        ({**GOOD, "rejected": ""}, None, None),
        ({**GOOD, "margin": "much"}, "margin", "is a text. Remedy: a finite number"),
        ({**GOOD, "margin": float("nan")}, "margin", "is nan"),
        ({**GOOD, "chosen": [{"role": "assistant", "content": "good"}]}, "chosen", "no chat template"),
        ({**GOOD, "prompt": "<s><s>the "}, "chosen", "begins with '<s>' twice"),
        ({**GOOD, "rejected": "a \ud800"}, "rejected", "lone surrogate"),
    ],
)
def test_rows(base: Path, tmp_path: Path, row: dict[str, Any], field: str | None, reason: str | None) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (GOOD, GOOD, row)))
    options = train_options(file, tmp_path / "model", eval_fraction=0, max_steps=1)
    if reason is None:  # an empty answer after a prompt is one
        assert train(base, options) is not None
        return
    with pytest.raises(PreferencesError, match=reason) as caught:
        train(base, options)
    assert (caught.value.line, caught.value.field) == (3, field)
    assert str(file) in str(caught.value)
    assert not (tmp_path / "model").exists()  # the same command works once the row is right
    assert "Remedy" in str(caught.value)


def test_long_pairs_are_left_out_and_counted(base: Path, data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    summary = train(base, train_options(data, tmp_path / "model", max_length=20, max_steps=1), said.append)
    assert summary is not None
    assert 0 < summary.too_long < 120
    kept = summary.train_pairs + len(read_lines(tmp_path / "model" / "evaluation.jsonl"))
    assert kept + summary.too_long == 120
    assert f"{summary.too_long} pairs left out: a sequence has more than 20 tokens" in said
    assert summary.tokenization.max_length == 20


def test_no_pair_left(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(PreferencesError, match=r"has no pair of at most 2 tokens"):
        train(base, train_options(data, tmp_path / "model", max_length=2))


def test_several_answers_make_every_pair(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    row = {"prompt": "the ", "chosen": ["good", "nice"], "rejected": ["bad", "worse", "worst"]}
    file.write_text(json.dumps(row) + "\n")
    summary = train(base, train_options(file, tmp_path / "model", eval_data=file, max_steps=1))
    assert summary is not None
    assert summary.train_pairs == 6
    assert len(read_lines(tmp_path / "model" / "evaluation.jsonl")) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp8"}, "precision is 'fp8'. Remedy: one of fp32, bf16, fp16"),
        ({"save_format": "gguf"}, "save_format is 'gguf'"),
        ({"epochs": 0}, "epochs is 0. Remedy: more than 0"),
        ({"eval_fraction": 1}, "eval_fraction is 1"),
        ({"train_layers": -1}, "train_layers is -1"),
        ({"train_layers": 1, "lora_rank": 4}, "exclude each other"),
        ({"eval_fraction": 0, "normalize": True}, "need an evaluation"),
    ],
)
def test_options(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        TrainOptions(data=Path("pairs.jsonl"), output=Path("model"), **changes)
    assert message in str(caught.value)
    assert "Remedy" in str(caught.value)


def test_more_layers_than_there_are(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train_layers is 3, and the model has 2"):
        train(base, train_options(data, tmp_path / "model", train_layers=3))


def test_a_reporter_that_is_not_installed(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nowhere"):
        train(base, train_options(data, tmp_path / "model", report_to="nowhere"))
