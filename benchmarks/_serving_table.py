"""What `serving` measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["serving_tables"]

_THROUGHPUT = ("W1", "W2", "W3")


def serving_tables(result: Mapping[str, Any]) -> list[Table]:
    """Servers with their figures; ours against each peer; who is missing."""
    tables = [_servers(result), *_ratios(result)]
    if result["unavailable"]:
        tables.append(_table("not measured", ["server", "why"], list(result["unavailable"].items())))
    return tables


def _servers(result: Mapping[str, Any]) -> Table:
    columns = ["server"]
    for workload in _THROUGHPUT:
        columns += [f"{workload} seq/s", "of peak"]
    columns += ["latency ms: p50", "p95", "MB", "off by", "noise"]
    rows = []
    for name, server in result["servers"].items():
        row = [name]
        for workload in _THROUGHPUT:
            row += [
                f"{server[workload]['sequences_per_second']['median']:.1f}",
                f"{server[workload]['share_of_peak']:.2f}",
            ]
        latency = server["latency"]["request_ms"]
        row += [f"{latency['p50']:.1f}", f"{latency['p95']:.1f}", str(server["memory_mb"])]
        row += [f"{server['difference_from_transformers']['largest']:.1e}"]
        row += [f"{max(server[workload]['core_taken_by_others'] for workload in result['workloads']):.0%}"]
        rows.append(row)
    return _table(f"{result['model']['name']}: one core each", columns, rows)


def _ratios(result: Mapping[str, Any]) -> list[Table]:
    tables = []
    for name, peers in result["ratios"].items():
        rows = [
            [
                peer,
                *(f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" for ratio in workloads.values()),
            ]
            for peer, workloads in peers.items()
        ]
        if rows:
            tables.append(_table(f"{name}: times as fast as", ["peer", *result["workloads"]], rows))
    return tables


def _table(title: str, columns: list[str], rows: list[Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        text = column in ("server", "peer", "why")
        table.add_column(column, justify="left" if text else "right", no_wrap=column != "why")
    for row in rows:
        table.add_row(*row)
    return table
