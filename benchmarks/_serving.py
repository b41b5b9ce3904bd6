"""`serving`: throughput and latency of our server and of its peers, in one alternating run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks._models import Model
from benchmarks._peak import measured_peak
from benchmarks._processes import Cores, pinned
from benchmarks._rounds import Field, Measured, entries, running
from benchmarks._setup import BenchmarkError, Setup, say
from benchmarks._summary import percentiles, ratios, summary
from benchmarks._workloads import TokenSource, Workload, latency, w1, w2, w3

__all__ = ["serving"]

_WORKLOADS = (w1, w2, w3, latency)

Runs = Mapping[str, Mapping[str, Sequence[Measured]]]
"""Server -> workload -> what was measured in each round."""


def serving(setup: Setup) -> dict[str, Any]:
    """W1, W2, W3 and the latency of one text, server on one core and load on another, medians over the rounds."""
    cores, model = Cores.chosen(), setup.model
    say("serving: the machine's matrix products")
    peak = measured_peak(model, cores)
    with pinned(cores.load), running(model, cores, entries(setup.takes_part)) as participants:
        if not participants.servers:
            raise BenchmarkError(f"no server runs: {participants.unavailable}")
        runs, idle = _rounds(participants, model, setup.runs)
        memory = _memory(participants)
    workloads = _workloads(model, 0)
    return {
        "what": (
            "servers pinned to one core, one running at a time, taking turns in every round; load on another core. "
            "W1: 128 sequences, one a request, 16 clients. W2: the same lengths, 32 a request, 4 clients. W3: groups "
            "of 16 responses to a prompt of 512 tokens, one group a request, 4 clients. latency: a text of 128 tokens"
        ),
        "model": {"name": model.name, "parameters_without_embedding": model.parameters},
        "gflops_of_matrix_products": peak,
        "workloads": {workload.name: _described(workload) for workload in workloads},
        "processor_seconds_of_paused_servers": idle,
        "servers": {
            name: {
                "precision": participants.entries[name].precision,
                "difference_from_transformers": participants.differences[name],
                "memory_mb": memory[name],
                **{
                    w.name: _figures(w, runs[name][w.name], model, _peak_of(peak, participants, name))
                    for w in workloads
                },
                "W3_against_W2": _sharing(runs[name], workloads),
            }
            for name in participants.servers
        },
        "unavailable": participants.unavailable,
        "ratios": _ratios(participants, runs),
    }


def _workloads(model: Model, turn: int) -> list[Workload]:
    tokens = TokenSource(model.vocab_size, seed=turn)
    return [make(tokens) for make in _WORKLOADS]


def _rounds(participants: Field, model: Model, count: int) -> tuple[Runs, float]:
    """Measures, and adds up the processor time of servers that should have stood still."""
    runs: dict[str, dict[str, list[Measured]]] = {name: defaultdict(list) for name in participants.servers}
    idle = 0.0
    for turn in range(count):
        workloads = _workloads(model, turn)
        warm_up = latency(TokenSource(model.vocab_size, seed=count + turn))
        for name in participants.servers:
            others = [server.tree for other, server in participants.servers.items() if other != name]
            before = [tree.cpu_seconds() for tree in others]
            say(f"serving: round {turn + 1} of {count}, {name}")
            with participants.awake(name) as server:
                participants.measure(server, warm_up)
                for workload in workloads:
                    runs[name][workload.name].append(participants.measure(server, workload))
            idle += sum(tree.cpu_seconds() - start for tree, start in zip(others, before, strict=True))
    return runs, idle


def _memory(participants: Field) -> dict[str, int]:
    return {name: round(server.tree.memory() / 1e6) for name, server in participants.servers.items()}


def _peak_of(peak: Mapping[str, Any], participants: Field, name: str) -> float:
    return float(peak[participants.entries[name].precision]["peak"])


def _described(workload: Workload) -> dict[str, Any]:
    return {
        "requests": len(workload.requests),
        "clients": workload.clients,
        "sequences": workload.sequences,
        "tokens": workload.tokens,
        "distinct_tokens": workload.distinct_tokens,
        "padding_avoided": workload.padded_tokens - workload.tokens,
        "prefix_tokens_avoided": workload.tokens - workload.distinct_tokens,
    }


def _figures(workload: Workload, measured: Sequence[Measured], model: Model, peak: float) -> dict[str, Any]:
    seconds = [run.load.seconds for run in measured]
    median = float(np.median(seconds))
    return {
        "sequences_per_second": summary([workload.sequences / value for value in seconds]),
        "tokens_per_second": workload.tokens / median,
        # The server's own time: what it would reach, nearly, if nothing else ran on its core.
        "tokens_per_processor_second": workload.tokens / float(np.median([run.server_seconds for run in measured])),
        "request_ms": percentiles([1000 * value for run in measured for value in run.load.request_seconds]),
        # Of the tokens sent: what a server saves by sharing counts as if it were computed, and may exceed 1.
        "share_of_peak": 2 * model.parameters * workload.tokens / median / (1e9 * peak),
        "client_ms_per_sequence": 1000
        * float(np.median([run.load.client_seconds for run in measured]))
        / workload.sequences,
        "core_taken_by_others": max(run.foreign for run in measured),
    }


def _sharing(runs: Mapping[str, Sequence[Measured]], workloads: Sequence[Workload]) -> dict[str, float]:
    """How much of the time for the prompts' repetitions is saved, at the rate of W2."""
    by_name = {workload.name: workload for workload in workloads}
    two, three = by_name["W2"], by_name["W3"]
    per_token, taken = (float(np.median([run.load.seconds for run in runs[name]])) for name in ("W2", "W3"))
    per_token /= two.tokens
    unshared, ideal = three.tokens * per_token, three.distinct_tokens * per_token
    return {
        "seconds_per_distinct_token": taken / three.distinct_tokens / per_token,
        "share_of_savings_realised": (unshared - taken) / (unshared - ideal),
    }


def _ratios(participants: Field, runs: Runs) -> dict[str, Any]:
    """Each of ours against each peer: above 1, ours is faster."""
    ours = [name for name in participants.servers if participants.entries[name].ours]
    peers = [name for name in participants.servers if not participants.entries[name].ours]
    return {
        mine: {peer: {w: _faster(runs[mine][w], runs[peer][w]) for w in runs[mine]} for peer in peers} for mine in ours
    }


def _faster(ours: Sequence[Measured], theirs: Sequence[Measured]) -> dict[str, float | int]:
    return ratios([run.load.seconds for run in theirs], [run.load.seconds for run in ours])
