"""docs/security.md lists every hostile input that is tested, and what it gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import hostile_checkpoints, hostile_inputs, hostile_repositories, hostile_servers, hostile_templates

DOCS = Path(__file__).parents[2] / "docs" / "security.md"

TABLES = {
    "Checkpoints": {name: f"`{case.gets}`" for name, case in hostile_checkpoints.CASES.items()},
    "Chat templates": {name: f"`{gets}`" for name, (_, gets, _) in hostile_templates.CASES.items()},
    "Servers": {name: f"`{case.gets}`" for name, case in hostile_servers.CASES.items()},
    "Repositories": {
        name: "nothing: it isn't looked at" if problem == "[]" else f"`{problem}`"
        for name, (_, problem) in hostile_repositories.CASES.items()
    },
    "Data files": {name: f"`{gets}`" for name, (_, _, gets, _) in hostile_inputs.FILES.items()},
    "Requests": {name: str(case.status) for name, case in hostile_inputs.REQUESTS.items()},
}


@pytest.mark.parametrize("title", TABLES)
def test_the_table_is_that_of_the_tests(title: str) -> None:
    section = DOCS.read_text(encoding="utf-8").partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert {name.replace("\\|", "|"): gets.replace("\\|", "|") for name, gets in rows[1:]} == TABLES[title]
