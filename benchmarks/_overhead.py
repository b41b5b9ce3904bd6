"""`overhead`: what Triton and the client add to the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks._in_process import InProcess
from benchmarks._ours import CONFIGURATIONS, Configuration
from benchmarks._processes import Cores, pinned
from benchmarks._rounds import Entry, Measured, our_entry, running
from benchmarks._setup import Setup, say
from benchmarks._summary import ratios, summary
from benchmarks._workloads import TokenSource, w2

__all__ = ["overhead"]


def overhead(setup: Setup) -> dict[str, Any]:
    """W2 by each of our servers, and by its graph in a process of its own, in turns."""
    cores, model = Cores.chosen(), setup.model
    pairs = {
        configuration.name: (our_entry(configuration), _in_process_entry(configuration))
        for configuration in CONFIGURATIONS
        if setup.takes_part(our_entry(configuration).name)
    }
    wanted = [entry for pair in pairs.values() for entry in pair]
    runs: dict[str, list[Measured]] = {entry.name: [] for entry in wanted}
    with pinned(cores.load), running(model, cores, wanted) as participants:
        # Also warms up, and lets the graph find its best run size: not kept.
        for turn in range(-1, setup.runs):
            workload = w2(TokenSource(model.vocab_size, seed=turn + 1))
            for name in participants.servers:
                say(f"overhead: round {turn + 1} of {setup.runs}, {name}")
                with participants.awake(name) as server:
                    measured = participants.measure(server, workload)
                if turn >= 0:
                    runs[name].append(measured)
    return {
        "what": (
            "W2 through RewardClient, gRPC and Triton, against the same graph in a process of its own on the same core "
            "(fed over a pipe, one request after another, in runs of the size that is fastest for it); overhead is the "
            "served time by the graph's, less 1"
        ),
        "model": model.name,
        "configurations": {
            name: _compared(runs[served.name], runs[graph.name])
            for name, (served, graph) in pairs.items()
            if runs[served.name] and runs[graph.name]
        },
        "unavailable": participants.unavailable,
    }


def _compared(served: list[Measured], graph: list[Measured]) -> dict[str, Any]:
    seconds = [[run.load.seconds for run in runs] for runs in (served, graph)]
    by_wall = ratios(*seconds)
    return {
        "served_seconds": summary(seconds[0]),
        "graph_seconds": summary(seconds[1]),
        "overhead": by_wall["median"] - 1,
        # What of it is processor time on the server's core: undisturbed by other processes.
        "overhead_in_processor_time": float(
            np.median([run.server_seconds for run in served]) / np.median([run.server_seconds for run in graph]) - 1
        ),
        "client_ms_per_sequence": 1000 * float(np.median([run.load.client_seconds for run in served])) / 128,
        "core_taken_by_others": max(run.foreign for run in [*served, *graph]),
    }


def _in_process_entry(configuration: Configuration) -> Entry:
    return Entry(
        name=f"in-process/{configuration.name}",
        precision=configuration.precision,
        ours=True,
        start=lambda model, cores, log: InProcess(model, configuration, cores, log),
    )
