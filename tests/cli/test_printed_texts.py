"""What a stranger wrote into a checkpoint can't command the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.checkpoints import edit_config, save_huggingface

SCRIPT = Path(sys.executable).parent / "rewardserve"
COMMAND = "\x1b]0;owned\x07\x1b[2J\u202e"
SHOWN = r"\x1b[2J\u202e"


def test_commands_to_the_terminal_are_shown(tmp_path: Path) -> None:
    checkpoint = save_huggingface(tmp_path)
    edit_config(checkpoint, architectures=[f"{COMMAND}LlamaForSequenceClassification"])
    for shown in ((), ("--value-head-prefix", COMMAND)):
        command = [SCRIPT, "inspect", str(checkpoint), *shown]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        printed = ended.stdout + ended.stderr
        assert ended.returncode == bool(shown), printed
        assert SHOWN in printed
        assert not set(COMMAND[:1] + COMMAND[-1:] + "\x07") & set(printed)
