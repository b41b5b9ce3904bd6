"""What `client` measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["client_tables"]


def client_tables(result: Mapping[str, Any]) -> list[Table]:
    """Calls with texts of each length; memory of streams; memory of one long list."""
    tables = []
    for calls in result["calls"].values():
        table = Table(title=f"texts of {calls['tokens_per_text']:.0f} tokens, microseconds each", title_justify="left")
        table.add_column("calls")
        for column in ("texts/s", "wall", "beyond tokenization", "processor", "beyond tokenization"):
            table.add_column(column, justify="right")
        for name, case in calls.items():
            if isinstance(case, Mapping):
                table.add_row(name, *map(_median, case.values()))
        tables.append(table)
    memory = Table(title="memory, MB", title_justify="left")
    for column in ("", "texts", "before", "first", "middle", "last", "most", "more for 100,000 texts"):
        memory.add_column(column, justify="right" if column else "left")
    for name in ("score_iter", "async_score_iter"):
        memory.add_row(name, *(f"{figure:.6g}" for figure in list(result["memory"][name].values())[:7]))
    score = result["memory"]["score"]
    memory.caption = (
        f"score of one list of {score['texts']} texts, {score['mb_of_the_list']} MB: "
        f"{score['mb_more_at_the_peak']} MB more at the peak"
    )
    return [*tables, memory]


def _median(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:,.1f}"
