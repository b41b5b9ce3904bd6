from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from support.checkpoints import save_huggingface, save_openrlhf

if TYPE_CHECKING:
    from conftest import Cells, Run


def test_table(run: Run, cells: Cells, checkpoint: Path) -> None:
    outcome = run("inspect", checkpoint)
    assert (outcome.code, outcome.err) == (0, "")
    assert str(checkpoint) in outcome.out
    rows = cells(outcome.out)
    sha256 = hashlib.sha256((checkpoint / "tokenizer.json").read_bytes()).hexdigest()
    assert rows["value head"] == f"score.weight in {checkpoint / 'model.safetensors'}"
    assert rows["architecture"] == "LlamaForSequenceClassification (model type llama, hidden size 32)"
    assert rows["positions"] == "1,024"
    assert re.fullmatch(rf"\d+ tokens, sha256 {sha256}", rows["tokenizer"])
    assert rows["normalisation"] == "none"
    assert rows["EOS"] == "'</s>', not added by the tokenizer"


def test_table_of_an_openrlhf_checkpoint(run: Run, cells: Cells, tmp_path: Path) -> None:
    checkpoint = save_openrlhf(tmp_path, normalize_reward=True, mean=0.5, std=2.0)
    rows = cells(run("inspect", checkpoint).out)
    assert "OpenRLHF" in rows["format"]
    assert rows["normalisation"] == "(reward - 0.5) / 2"


def test_tokens_and_paths_that_look_like_markup(run: Run, cells: Cells, tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path / "[bold]a[/]")
    config = checkpoint / "tokenizer_config.json"
    config.write_text(config.read_text().replace("</s>", "[/SEP]"))
    file = checkpoint / "tokenizer.json"
    file.write_text(file.read_text().replace("</s>", "[/SEP]"))
    outcome = run("inspect", checkpoint)
    assert str(checkpoint) in outcome.out
    assert cells(outcome.out)["EOS"].startswith("'[/SEP]'")


def test_json(run: Run, checkpoint: Path) -> None:
    outcome = run("inspect", checkpoint, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads(outcome.out)
    tokenizer = report.pop("tokenizer")
    assert {name: type(value) for name, value in report.items()} == {
        "path": str,
        "format": str,
        "architecture": str,
        "model_type": str,
        "parameters": int,
        "dtypes": dict,
        "hidden_size": int,
        "max_position_embeddings": int,
        "head": str,
        "head_file": str,
        "labels": type(None),
        "adapter": type(None),
        "base": type(None),
        "normalization": type(None),
        "trained_tokenization": type(None),
    }
    assert {name: type(value) for name, value in tokenizer.items()} == {
        "sha256": str,
        "size": int,
        "bos_token": str,
        "eos_token": str,
        "adds_bos": bool,
        "adds_eos": bool,
    }
    assert report["path"] == str(checkpoint)


def test_untrained_head_is_shown(run: Run, cells: Cells, untrained: Path) -> None:
    outcome = run("inspect", untrained)
    assert outcome.code == 0
    assert cells(outcome.out)["value head"] == "untrained: the checkpoint holds none"
    assert json.loads(run("inspect", untrained, "--json").out)["head"] is None


def test_no_checkpoint_is_one_message(run: Run, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        outcome = run("inspect", directory)
        assert (outcome.code, outcome.out) == (1, "")
        assert re.fullmatch(rf"error: CheckpointError: {re.escape(str(directory))}.*\n", outcome.err)
