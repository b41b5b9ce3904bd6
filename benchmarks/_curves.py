"""`curves`: tokens a second against the length of the sequences, and against the number of clients."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks._models import Model
from benchmarks._plots import plot_curve
from benchmarks._processes import Cores, pinned
from benchmarks._rounds import Field, entries, running
from benchmarks._setup import BenchmarkError, Setup, say
from benchmarks._summary import summary
from benchmarks._workloads import TokenSource, Workload, uniform

__all__ = ["curves"]

_LENGTHS, _CLIENTS_OF_LENGTHS, _TOKENS = (64, 128, 256, 512, 1024, 2048), 8, 16_384
_CLIENTS, _LENGTH, _SEQUENCES = (1, 2, 4, 8, 16, 32), 200, 96
_AXES = {"length": "tokens of each sequence", "concurrency": "clients, each with one sequence of 200 tokens at a time"}

Rates = dict[str, dict[str, dict[int, list[float]]]]
"""Tokens a second: curve -> server -> point -> rounds."""


def curves(setup: Setup) -> dict[str, Any]:
    """One sequence a request: of 64 to 2,048 tokens, and from 1 to 32 clients."""
    cores, model = Cores.chosen(), setup.model
    with pinned(cores.load), running(model, cores, entries(setup.takes_part)) as participants:
        if not participants.servers:
            raise BenchmarkError(f"no server runs: {participants.unavailable}")
        rates, foreign = _measured(participants, model, setup.runs)
    result: dict[str, Any] = {
        "what": (
            "tokens a second, one sequence a request. length: 16,384 tokens in sequences of one length, 8 clients. "
            "concurrency: 96 sequences of 200 tokens"
        ),
        "model": model.name,
        "core_taken_by_others": foreign,
        "unavailable": participants.unavailable,
    }
    for curve, axis in _AXES.items():
        points = rates[curve]
        result[curve] = {name: {str(x): summary(values) for x, values in by_x.items()} for name, by_x in points.items()}
        if setup.plots is not None:
            medians = {name: {x: float(np.median(v)) for x, v in by_x.items()} for name, by_x in points.items()}
            plot_curve(medians, axis, f"{model.name}, one core", setup.plots / f"tokens-against-{curve}.png")
    return result


def _workloads(model: Model, turn: int) -> dict[str, dict[int, Workload]]:
    tokens = TokenSource(model.vocab_size, seed=turn)
    return {
        "length": {
            length: uniform(tokens, sequences=_TOKENS // length, length=length, clients=_CLIENTS_OF_LENGTHS)
            for length in _LENGTHS
        },
        "concurrency": {
            clients: uniform(tokens, sequences=_SEQUENCES, length=_LENGTH, clients=clients) for clients in _CLIENTS
        },
    }


def _measured(participants: Field, model: Model, count: int) -> tuple[Rates, dict[str, float]]:
    """The rates, and for each server the largest share of its core that other processes took."""
    rates: Rates = {curve: {name: defaultdict(list) for name in participants.servers} for curve in _AXES}
    foreign = dict.fromkeys(participants.servers, 0.0)
    for turn in range(count):
        workloads = _workloads(model, turn)
        for name in participants.servers:
            say(f"curves: round {turn + 1} of {count}, {name}")
            with participants.awake(name) as server:
                for curve, points in workloads.items():
                    for x, workload in points.items():
                        measured = participants.measure(server, workload)
                        rates[curve][name][x].append(workload.tokens / measured.load.seconds)
                        foreign[name] = max(foreign[name], measured.foreign)
    return rates, foreign
