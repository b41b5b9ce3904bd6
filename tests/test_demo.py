"""The parts of `make demo`. The demo itself takes minutes, and runs by its own command."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from rewardserve_evaluation import read_preferences

EXAMPLES = Path(__file__).parent.parent / "examples"
FIELDS = ("prompt", "chosen", "rejected", "flaw")
ROWS = [json.loads(line) for line in (EXAMPLES / "preferences.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def demo() -> Iterator[ModuleType]:
    """examples/demo.py as a module."""
    import sys

    sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(EXAMPLES))


def test_pairs_have_their_fields() -> None:
    assert len(ROWS) >= 96
    for row in ROWS:
        assert tuple(row) == FIELDS
        assert all(isinstance(row[name], str) and row[name].strip() == row[name] != "" for name in FIELDS)
        assert row["chosen"] != row["rejected"]


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected"])
def test_no_pair_occurs_twice(field: str) -> None:
    assert len({row[field].lower() for row in ROWS}) == len(ROWS)


def test_enough_pairs_on_both_sides(demo: ModuleType) -> None:
    assert len(ROWS) - demo.HELD_OUT >= 64
    assert demo.HELD_OUT >= 32
    flaws = {row["flaw"] for row in ROWS[: -demo.HELD_OUT]}
    assert {row["flaw"] for row in ROWS[-demo.HELD_OUT :]} <= flaws


def test_text_is_the_whole_conversation(demo: ModuleType) -> None:
    pair = demo.Pair(prompt="2 + 2?", chosen="4", rejected="5", flaw="wrong")
    text = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>"
    assert pair.text("4") == text
    assert pair.texts == [text, text.replace("\n4<", "\n5<")]


def test_training_reads_the_pairs(demo: ModuleType, tmp_path: Path) -> None:
    pairs = [demo.Pair(**row) for row in ROWS]
    rows = read_preferences(demo.write_pairs(pairs, tmp_path / "pairs.jsonl"))
    assert [[*row.chosen, *row.rejected] for row in rows] == [pair.texts for pair in pairs]
