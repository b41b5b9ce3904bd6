"""`faults`: what callers notice when servers and networks fail."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks._faults_cases import CASES
from benchmarks._faults_lost_packets import LOST_PACKETS
from benchmarks._faults_models import FaultModels, rollouts
from benchmarks._faults_network import Link
from benchmarks._faults_replica import Replica
from benchmarks._faults_replicas import killed_replicas
from benchmarks._faults_seen import Seen, Workload
from benchmarks._setup import BenchmarkError, Setup, say

__all__ = ["fault_tables", "faults"]

_TEXTS_PER_RUN = 4000
_CALL = 2000
"""Texts of the calls that are disturbed in their middle."""


def faults(setup: Setup) -> dict[str, Any]:
    """Replicas that are killed under load, and one fault after another as a caller sees it."""
    with tempfile.TemporaryDirectory(prefix="rewardserve-faults-") as directory:
        models = FaultModels(directory=Path(directory))
        return {
            "model": "a Llama with random weights: 4 layers of 256, 32,000 words; ONNX, Python backend, fp32",
            "replicas": killed_replicas(models, _TEXTS_PER_RUN * setup.runs),
            "cases": _cases(models),
        }


def _cases(models: FaultModels) -> dict[str, Any]:
    from rewardserve import RewardClient

    texts = [text for call in rollouts(_CALL // 4, 4, seed=1) for text in call]
    with Replica(models.plain) as replica, RewardClient(replica.url) as client:
        work = Workload(texts=texts, rewards=client.score(texts))
    found = {name: _seen(name, partial(case, models, work)) for name, case in CASES.items()}
    try:
        with Link.made() as link:
            for name, lossy in LOST_PACKETS.items():
                found[name] = _seen(name, partial(lossy, link, models, work))
    except BenchmarkError as error:
        found |= {name: {"not_measured": str(error)} for name in LOST_PACKETS}
    return found


def _seen(name: str, case: Callable[[], Seen]) -> dict[str, Any]:
    say(f"faults: {name}")
    try:
        return dataclasses.asdict(case())
    except Exception as error:  # the others can be measured
        return {"not_measured": f"{type(error).__name__}: {error}"}


def fault_tables(result: Mapping[str, Any]) -> list[Table]:
    """The replicas' figures, and the cases."""
    return [_replicas(result["replicas"]), _seen_table(result["cases"])]


def _replicas(result: Mapping[str, Any]) -> Table:
    runs = [name for name, run in result.items() if isinstance(run, Mapping)]
    table = Table(
        "", *runs, title=f"32 callers, {result['one_undisturbed_server']['texts']} texts", title_justify="left"
    )
    for figure, first in result["one_undisturbed_server"].items():
        if isinstance(first, (int, float)):
            table.add_row(figure.replace("_", " "), *(f"{result[run][figure]:.4g}" for run in runs))
    for figure in ("restarted_after_seconds", "took_part_after_seconds"):
        table.add_row(figure.replace("_", " "), *(_times(result[run].get("kills", ()), figure) for run in runs))
    return table


def _times(kills: Any, figure: str) -> str:
    return ", ".join("-" if kill[figure] is None else f"{kill[figure]:.1f}" for kill in kills)


def _seen_table(cases: Mapping[str, Any]) -> Table:
    columns = ["fault", "the caller sees", "after s", "missing", "consistent", "works afterwards", "message"]
    table = Table(*columns, title="what a caller sees", title_justify="left", show_lines=True)
    for name, found in cases.items():
        if "not_measured" in found:
            table.add_row(name, "not measured", *[""] * 4, found["not_measured"])
            continue
        table.add_row(
            name,
            found["error"] or "its rewards",
            f"{found['seconds']:.1f}",
            f"{found['missing']} of {found['texts']}",
            str(found["consistent"]),
            {None: "", True: "yes", False: "no"}[found["afterwards"]],
            found["message"] or "",
        )
    return table
