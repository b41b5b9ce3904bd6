"""Regular expressions in an `adapter_config.json`, which peft matches against the name of every module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardserve._errors import CheckpointError

__all__ = ["check_patterns"]

_EXPRESSIONS = ("target_modules", "exclude_modules", "layers_pattern", "modules_to_save")
_TABLES = ("rank_pattern", "alpha_pattern")
"""Tables from such expressions to numbers."""

_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")
_REPEATS = re.compile(r"(?:[*+]|\{[\d,]*\})[?+]?|(?<!\()\?")
_MOST_REPEATS = 5
"""Each may multiply the time by a name's length; Unsloth writes as many."""


def check_patterns(file: Path, config: dict[str, Any]) -> None:
    """Refuses expressions that could take hours on one name: a repeated group, or many repeats.

    Args:
        file: The `adapter_config.json`.
        config: Its content.

    Raises:
        CheckpointError: There is one.
    """
    for name, pattern in _patterns(config):
        if _REPEATED_GROUP.search(pattern) or len(_REPEATS.findall(pattern)) > _MOST_REPEATS:
            raise CheckpointError(
                f"{file} has the expression {pattern[:80]!r} in {name}, which may take hours to match. "
                "Remedy: list the modules by name"
            )


def _patterns(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _EXPRESSIONS:
        given = config.get(name)
        for pattern in given if isinstance(given, list) else [given]:
            if isinstance(pattern, str):
                yield name, pattern
    for name in _TABLES:
        table = config.get(name)
        yield from ((name, pattern) for pattern in (table if isinstance(table, dict) else ()))
