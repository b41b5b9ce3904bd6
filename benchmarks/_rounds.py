"""Servers that are all started, of which one at a time runs, and takes its turn in every round."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._load import Load, drive
from benchmarks._models import Model
from benchmarks._ours import CONFIGURATIONS, Configuration, OurServer
from benchmarks._processes import Cores, busy_seconds
from benchmarks._reference import Reference
from benchmarks._servers import Server
from benchmarks._setup import say
from benchmarks._workloads import TokenSource, Workload, latency
from benchmarks.peers._peers import PEERS, Peer

__all__ = ["Entry", "Field", "Measured", "entries", "our_entry", "running"]

Start = Callable[[Model, Cores, Path], Server]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One server that may take part.

    Attributes:
        name: For reports.
        precision: Of its weights and activations.
        ours: Whether it is ours, not a peer.
        start: Starts it, and waits until it is ready.
    """

    name: str
    precision: str
    ours: bool
    start: Start


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One workload on one server.

    Attributes:
        load: What the load generator saw.
        server_seconds: Processor time of the server.
        foreign: Share of the server's core that other processes took meanwhile: 0 on a quiet machine.
    """

    load: Load
    server_seconds: float
    foreign: float


@dataclass(kw_only=True)
class Field:
    """The servers that run.

    Attributes:
        cores: Who runs where.
        servers: By name, paused; those that were asked for and didn't start, or answer something else, are missing.
        entries: Of these servers, by name.
        differences: From transformers' rewards, by name.
        unavailable: Why the others are missing.
    """

    cores: Cores
    servers: dict[str, Server] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    differences: dict[str, Mapping[str, float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def awake(self, name: str) -> Iterator[Server]:
        """One server; all others stand still."""
        server = self.servers[name]
        server.tree.resume()
        try:
            yield server
        finally:
            server.tree.pause()

    def measure(self, server: Server, workload: Workload) -> Measured:
        """Runs a workload, and tells how far the server had its core for itself."""
        busy, own, began = busy_seconds(self.cores.server), server.tree.cpu_seconds(), time.monotonic()
        load = drive(workload, server.connect)
        busy = busy_seconds(self.cores.server) - busy
        own = server.tree.cpu_seconds() - own
        foreign = max(0.0, busy - own) / (time.monotonic() - began)
        return Measured(load=load, server_seconds=own, foreign=foreign)


def our_entry(configuration: Configuration) -> Entry:
    """Our server in one configuration."""
    return Entry(
        name=f"rewardserve/{configuration.name}",
        precision=configuration.precision,
        ours=True,
        start=lambda model, cores, log: OurServer(model, configuration, cores, log),
    )


def entries(takes_part: Callable[[str], bool]) -> list[Entry]:
    """Ours and the peers whose names are asked for."""
    ours = [our_entry(configuration) for configuration in CONFIGURATIONS]
    peers = [_peer_entry(peer) for peer in PEERS]
    return [entry for entry in [*ours, *peers] if takes_part(entry.name)]


def _peer_entry(peer: Peer) -> Entry:
    return Entry(
        name=peer.name,
        precision=peer.precision,
        ours=False,
        start=lambda model, cores, log: peer.start(model, peer.precision, cores, log),
    )


@contextlib.contextmanager
def running(model: Model, cores: Cores, wanted: Sequence[Entry]) -> Iterator[Field]:
    """Starts servers, checks that they compute the model's rewards, and stops them in the end."""
    reference = Reference(model)
    participants = Field(cores=cores)
    with contextlib.ExitStack() as started:
        for entry in wanted:
            say(f"starting {entry.name}")
            try:
                server = entry.start(model, cores, model.beside("logs") / f"{entry.name.replace('/', '-')}.log")
                started.callback(server.stop)
                try:
                    drive(latency(TokenSource(model.vocab_size, seed=2**32)), server.connect)
                    participants.differences[entry.name] = reference.check(server)
                finally:
                    server.tree.pause()
            except Exception as error:  # the others can be measured
                say(f"{entry.name}: {error}")
                participants.unavailable[entry.name] = str(error)
                continue
            participants.servers[entry.name] = server
            participants.entries[entry.name] = entry
        yield participants
