"""What a stranger wrote into a checkpoint can't command the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rewardserve.cli import main
from support.checkpoints import edit_config, save_huggingface

COMMAND = "\x1b[2J\x07\u202e"
"""Clears the screen, rings, and turns the direction of writing."""
WIDE = "奖励\u3000模型"
"""Has a space that Python calls unprintable."""


@pytest.mark.parametrize("given", [[], ["--value-head-prefix", COMMAND]], ids=["a result", "an error"])
def test_commands_to_the_terminal_are_shown(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_huggingface(tmp_path)
    edit_config(checkpoint, architectures=[f"{COMMAND}{WIDE}LlamaForSequenceClassification"])
    monkeypatch.setattr("sys.argv", ["rewardserve", "inspect", str(checkpoint), *given])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    assert ended.value.code == bool(given)
    printed = captured.err if given else captured.out
    assert r"\x1b[2J" in printed
    assert r"\u202e" in printed
    assert (WIDE in printed) == (not given)
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
