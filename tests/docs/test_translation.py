"""README.zh-CN.md says what README.md says: the same code, links, headings and tables, in another language."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ENGLISH = (PROJECT / "README.md").read_text(encoding="utf-8")
CHINESE = (PROJECT / "README.zh-CN.md").read_text(encoding="utf-8")
CODE = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return CODE.sub("", text)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", prose(text))


def test_each_links_to_the_other_at_its_top() -> None:
    assert "](README.zh-CN.md)" in ENGLISH.splitlines()[2]
    assert "](README.md)" in CHINESE.splitlines()[2]


def test_the_code_is_the_same() -> None:
    assert len(CODE.findall(ENGLISH)) > 5
    assert CODE.findall(CHINESE) == CODE.findall(ENGLISH)


def test_the_links_are_the_same() -> None:
    assert sorted(links(CHINESE)[1:]) == sorted(links(ENGLISH)[1:])


def test_headings_rows_and_paragraphs_are_as_many() -> None:
    for pattern in (r"^#+ ", r"^\|.*\|$", r"^- ", r"\n\n"):
        found = [len(re.findall(pattern, prose(text), re.MULTILINE)) for text in (CHINESE, ENGLISH)]
        assert found[0] == found[1] > 1, pattern


def test_names_in_code_are_the_same() -> None:
    """Options, files and functions that the text names: what changes in one has to change in the other."""
    names = [sorted(set(re.findall(r"`([^`\n]+)`", prose(text)))) for text in (CHINESE, ENGLISH)]
    assert names[0] == names[1]
