"""The report of a training: that it stands alone, says what the files say, and finds length bias."""

from __future__ import annotations

import base64
import json
import random
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rewardserve import MissingExtraError
from rewardserve.cli import app
from rewardserve_training import train
from support.training import WORDS, read_lines, train_options
from typer.testing import CliRunner

if TYPE_CHECKING:
    from conftest import Trained


class Page(HTMLParser):
    """What is on a page: its text, its tags, its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def write_lengths(path: Path, count: int, *, longer_chosen: float) -> Path:
    """Pairs of answers that differ in nothing but their lengths."""
    draw = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            short, long = (" ".join(draw.choices(WORDS, k=draw.randint(*bounds))) for bounds in ((1, 3), (7, 10)))
            chosen, rejected = (long, short) if index < longer_chosen * count else (short, long)
            file.write(json.dumps({"prompt": "the reward: ", "chosen": chosen, "rejected": rejected}) + "\n")
    return path


@pytest.fixture(scope="module")
def page(trained: Trained) -> Page:
    return Page(trained.path / "report.html")


def test_it_needs_neither_network_nor_scripts(trained: Trained, page: Page) -> None:
    assert "script" not in page.tags
    assert "url(" not in (trained.path / "report.html").read_text(encoding="utf-8")
    assert len(page.sources) == 3
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ET.fromstring(base64.b64decode(content)).tag == "{http://www.w3.org/2000/svg}svg"


def test_it_says_what_the_files_say(trained: Trained, page: Page) -> None:
    rows = read_lines(trained.path / "evaluation.jsonl")
    parts = {
        "accuracy, all pairs": rows,
        "the chosen answer is longer": [row for row in rows if row["chosen_tokens"] > row["rejected_tokens"]],
        "accuracy where it is shorter": [row for row in rows if row["chosen_tokens"] < row["rejected_tokens"]],
    }
    for name, part in parts.items():
        right = sum(row["chosen_reward"] > row["rejected_reward"] for row in part)
        assert f"{name} {len(part)} {right / len(part):.1%} " in page.text
    losses = [entry["loss"] for entry in read_lines(trained.path / "training_log.jsonl") if "loss" in entry]
    assert f"{sum(losses[-4:]) / 4:.3f} training loss from {sum(losses[:4]) / 4:.3f}, in 40 updates" in page.text


def test_a_model_that_pays_for_length_is_found_out(base: Path, tmp_path: Path) -> None:
    """Trained where the longer answer is always better, evaluated where it is in half of the pairs."""
    data = write_lengths(tmp_path / "train.jsonl", 100, longer_chosen=1)
    evaluation = write_lengths(tmp_path / "evaluation.jsonl", 40, longer_chosen=0.5)
    summary = train(base, train_options(data, tmp_path / "model", eval_data=evaluation))
    assert summary is not None
    assert summary.length_bias is not None
    assert summary.length_bias.gap > 0.8
    assert summary.length_bias.correlation > 0.5
    page = Page(tmp_path / "model" / "report.html")
    assert "The model favours longer answers: " in page.text


def test_without_evaluation_there_are_curves(base: Path, data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "<script>alert(1)<"  # a name is text
    train(base, train_options(data, directory, eval_fraction=0, max_steps=1))
    page = Page(directory / "report.html")
    assert len(page.sources) == 1
    assert "No evaluation was asked for" in page.text
    assert "<script>alert(1)<" in page.text
    assert "script" not in page.tags


def test_a_training_that_diverged_is_said(base: Path, data: Path, tmp_path: Path) -> None:
    train(base, train_options(data, tmp_path / "model", learning_rate=1e30, max_steps=3))
    page = Page(tmp_path / "model" / "report.html")
    assert len(page.sources) == 1
    assert "rewards aren't finite: the training diverged" in page.text


def test_the_command_prints_it(base: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    arguments = ["train", base, "--data", data, "--output", output, "--max-steps", 2, "--eval-steps", 1]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "accuracy of length alone: the longer is better" in result.output
    assert re.search(r"Taking the longer answer would be right in \d+% of the pairs", result.output)
    assert f"report {output / 'report.html'}" in result.output


def test_without_matplotlib_nothing_is_trained(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rewardserve\[evaluate\]'"):
        train(base, train_options(data, tmp_path / "model"))
    assert not (tmp_path / "model").exists()
