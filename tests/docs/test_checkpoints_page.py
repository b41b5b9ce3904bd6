"""docs/checkpoints.md calls the formats as `rewardserve inspect` does, and has them all."""

from __future__ import annotations

import re
from pathlib import Path

from rewardserve_export.checkpoint.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")


def test_every_format_has_its_row() -> None:
    section = PAGE.partition("\n## Formats\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    assert sorted(rows[1:]) == sorted(known.name for known in FORMATS)
