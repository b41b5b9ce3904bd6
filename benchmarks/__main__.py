"""`python -m benchmarks [NAME …]`: one JSON document on stdout, progress and a table on stderr."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks._attention_cost import attention_cost
from benchmarks._batch_invariance import batch_invariance
from benchmarks._client import client
from benchmarks._client_table import client_tables
from benchmarks._curves import curves
from benchmarks._dashboard import dashboard, dashboard_tables
from benchmarks._export_memory import export_memory
from benchmarks._faults import fault_tables, faults
from benchmarks._gpu import gpu
from benchmarks._gpu_scorers import SIZES
from benchmarks._install import install
from benchmarks._machine import hardware, today, versions
from benchmarks._memory import memory
from benchmarks._overhead import overhead
from benchmarks._pair_decisions import pair_decisions
from benchmarks._parity import parity
from benchmarks._policy import policy
from benchmarks._serving import serving
from benchmarks._serving_table import serving_tables
from benchmarks._setup import Settings, Setup
from benchmarks._soak import soak
from benchmarks._soak_report import soak_failures, soak_tables
from benchmarks._training import training

BENCHMARKS: dict[str, Callable[[Setup], dict[str, Any]]] = {
    "parity": parity,
    "batch-invariance": batch_invariance,
    "pair-decisions": pair_decisions,
    "attention-cost": attention_cost,
    "install": install,
    "serving": serving,
    "overhead": overhead,
    "client": client,
    "curves": curves,
    "export-memory": export_memory,
    "memory": memory,
    "faults": faults,
    "training": training,
    "policy": policy,
    "gpu": gpu,
    "dashboard": dashboard,
    "soak": soak,
}
TABLES: dict[str, Callable[[Mapping[str, Any]], list[Table]]] = {
    "serving": serving_tables,
    "client": client_tables,
    "faults": fault_tables,
    "dashboard": dashboard_tables,
    "soak": soak_tables,
}
"""For results that a list of figures wouldn't show well."""
FAILURES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {"soak": soak_failures}
"""What is wrong with a result, where something can be."""
PROJECT = Path(__file__).parent.parent


def main() -> None:
    """Runs the benchmarks that were asked for, or all."""
    arguments = _arguments()
    # As an exception, so that servers are stopped: those that are paused would otherwise stay forever.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    names = arguments.names or [name for name in BENCHMARKS if name != "soak"]
    document: dict[str, Any] = {
        "date": today(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "hardware": hardware(),
        "versions": versions(),
        # Where it lies on this machine is nobody's business.
        "checkpoint": os.path.relpath(arguments.checkpoint, PROJECT),
        "results": {},
    }
    settings = Settings(
        checkpoint=arguments.checkpoint,
        data=arguments.data,
        repository=arguments.repository,
        model=arguments.model,
        servers=tuple(arguments.servers),
        runs=arguments.runs,
        plots=arguments.plots,
        size=arguments.size,
        minutes=arguments.minutes,
    )
    failed: dict[str, str] = {}
    with Setup.made(settings) as setup:
        for name in names:
            try:
                document["results"][name] = BENCHMARKS[name](setup)
            except Exception as error:  # what the others have measured took minutes, and isn't lost
                failed[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(document, indent=2))
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    results = document["results"]
    console.print(_table({name: result for name, result in results.items() if name not in TABLES}))
    for name in results.keys() & TABLES.keys():
        console.print(*TABLES[name](results[name]))
    for name in results.keys() & FAILURES.keys():
        if found := FAILURES[name](results[name]):
            failed[name] = "; ".join(found)
    if failed:
        sys.exit("\n".join(f"{name} failed: {reason}" for name, reason in failed.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; by default all but soak"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=PROJECT / "demo_output" / "checkpoint",
        help="a *ForSequenceClassification checkpoint; by default the one that `make demo` makes",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=PROJECT.parent / "shared" / "data",
        help="preferences.jsonl.gz, or its directory; by default ../shared/data",
    )
    parser.add_argument(
        "--repository", type=Path, help="an export of the checkpoint, named `reward`, to save making one"
    )
    parser.add_argument(
        "--model",
        choices=["peers-llama", "checkpoint"],
        default="peers-llama",
        help="what servers are compared on: a small Llama with random weights (the default), or --checkpoint",
    )
    parser.add_argument(
        "--servers", nargs="+", default=["*"], metavar="PATTERN", help="servers that take part, such as 'vllm/*'"
    )
    parser.add_argument("--runs", type=int, default=5, help="rounds in which the servers take turns; by default 5")
    parser.add_argument("--plots", type=Path, help="a directory for plots")
    parser.add_argument(
        "--size", choices=list(SIZES), help="of the model of `gpu`; by default 8b, or tiny where there is no GPU"
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long `soak` takes; by default 30")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return arguments


def _table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table()
    table.add_column("benchmark", style="cyan", no_wrap=True)
    table.add_column("figure", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    for name, result in results.items():
        for figure, value in _figures(result):
            table.add_row(name, Text(figure), value)
        table.add_section()
    return table


def _figures(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Numbers, and medians with their spread, under dotted names."""
    for key, value in result.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and "median" in value:
            yield name, f"{value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g}, {value['runs']} runs)"
        elif isinstance(value, Mapping):
            yield from _figures(value, f"{name}: ")
        elif isinstance(value, (bool, int)):
            yield name, str(value)
        elif isinstance(value, float):
            yield name, f"{value:.4g}"


if __name__ == "__main__":
    main()
