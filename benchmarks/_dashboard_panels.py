"""The panels of the Grafana dashboard, and what Prometheus answers to their queries."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "DASHBOARD",
    "Answer",
    "Panel",
    "QueryRange",
    "Series",
    "answers_of",
    "finite_points",
    "metrics_in",
    "read_panels",
]

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboards" / "rewardserve.json"

_RATE_WINDOW = "15s"
_VARIABLES = {"$__rate_interval": _RATE_WINDOW, "$model": ".*", "$version": ".*"}
"""Grafana's own, and the dashboard's; the window suits a Prometheus that scrapes every second."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a panel.

    Attributes:
        labels: That tell it from the query's others.
        points: (seconds since the epoch, value), finite ones only.
    """

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


QueryRange = Callable[[str], list[Series]]
"""A query -> what it gave over the time that is looked at."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: Unique in the dashboard.
        kind: Grafana's name of it, such as `timeseries`.
        unit: Grafana's name of it.
        position: Column of 24, row, width, height.
        queries: Their expressions, variables filled in, and the legends' templates.
    """

    title: str
    kind: str
    unit: str
    position: tuple[int, int, int, int]
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one query of a panel gave.

    Attributes:
        panel: Whose query it is.
        query: Its expression.
        legend: Template of the lines' names.
        series: With data.
    """

    panel: Panel
    query: str
    legend: str
    series: tuple[Series, ...]

    def summary(self) -> dict[str, Any]:
        """For reports: how much there is, and its extremes."""
        values = [value for series in self.series for _, value in series.points]
        return {
            "panel": self.panel.title,
            "query": self.query,
            "series": len(self.series),
            "samples": len(values),
            "smallest": min(values, default=None),
            "largest": max(values, default=None),
        }

    def name(self, series: Series) -> str:
        """The legend's text of one of its lines."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), self.legend)


def read_panels() -> list[Panel]:
    """All panels that hold queries, in the dashboard's order."""
    panels = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            continue
        place = panel["gridPos"]
        panels.append(
            Panel(
                title=panel["title"],
                kind=panel["type"],
                unit=panel["fieldConfig"]["defaults"]["unit"],
                position=(place["x"], place["y"], place["w"], place["h"]),
                queries=tuple((_filled(target["expr"]), target["legendFormat"]) for target in panel["targets"]),
            )
        )
    return panels


def _filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def answers_of(panels: Sequence[Panel], query_range: QueryRange) -> list[Answer]:
    """Every query of every panel, asked."""
    answers = []
    for panel in panels:
        for query, legend in panel.queries:
            series = tuple(found for found in query_range(query) if found.points)
            answers.append(Answer(panel=panel, query=query, legend=legend, series=series))
    return answers


def metrics_in(expression: str) -> set[str]:
    """Names of the metrics that a PromQL expression selects, but for those of recording rules.

    A name is what stands before a selector or a range, or begins as ours and Triton's do.
    """
    expression = re.sub(r'"[^"]*"', "", expression)
    names = re.findall(r"(?<![\w:$])([A-Za-z_][\w:]*)\s*[{\[]", expression)
    names += re.findall(r"(?<![\w:$])((?:nv|rewardserve)_\w+)(?![\w:])", expression)
    return {name for name in names if ":" not in name}


def finite_points(values: Sequence[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    """Prometheus' samples without NaN and infinities, which are no data."""
    return tuple((time, number) for time, text in values if math.isfinite(number := float(text)))
