"""The options that the documentation's shell blocks give to `rewardserve` are ones that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer.main
from rewardserve.cli import app

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("*.md")])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def calls(page: Path) -> list[list[str]]:
    """The words behind `rewardserve` of each call in a shell block, up to a pipe or a `--`."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|[|&;] *|=\S+ )rewardserve ([a-z].*)", line) for line in lines]
    parts = [re.split(r" -- | \| ", match[1])[0] for match in found if match]
    return [shlex.split(part, comments=True) for part in parts]


CALLS = [(page, words) for page in PAGES for words in calls(page)]


def test_options_exist() -> None:
    unknown = []
    for page, words in CALLS:
        known = {option for parameter in COMMANDS[words[0]].params for option in parameter.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        unknown += [f"{page.name}: rewardserve {words[0]} {option}" for option in sorted(given - known)]
    assert unknown == []


def test_calls_are_found() -> None:
    assert len(CALLS) > 40
    assert {words[0] for _, words in CALLS} >= {"inspect", "export", "serve", "score", "train", "gateway", "promote"}
