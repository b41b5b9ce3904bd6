"""Processes of servers: pinned to a core, idle while another is measured, and what they use."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._setup import BenchmarkError

__all__ = ["Cores", "ProcessTree", "busy_seconds", "pinned"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Who runs where.

    Attributes:
        server: The core of the server that is measured.
        load: The cores of the load generator.
    """

    server: int
    load: frozenset[int]

    @classmethod
    def chosen(cls) -> Cores:
        """The first core that this process may use is the server's, the second the load's.

        Raises:
            BenchmarkError: There is only one.
        """
        available = sorted(os.sched_getaffinity(0))
        if len(available) < 2:
            raise BenchmarkError("server and load generator need a core each. Remedy: allow this process two cores")
        return cls(server=available[0], load=frozenset(available[1:2]))


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Pins this thread to cores, and with it every process and thread that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class ProcessTree:
    """A process with all of its descendants.

    Args:
        pid: Of the root.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pids(self) -> list[int]:
        """The root and what descends from it now."""
        children: dict[int, list[int]] = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # The name, in parentheses, may hold spaces; the parent is the second field behind it.
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(directory.name))
        found = [self._pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def pause(self) -> None:
        """Stops every process where it is: a server that polls while idle would disturb the one that is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def memory(self) -> int:
        """Bytes, proportional set size: pages that several processes share count once."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
        return total

    def cpu_seconds(self) -> float:
        """Processor time that the living processes have used."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS


def busy_seconds(core: int) -> float:
    """Processor time that a core has spent on any process since the machine started."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
            return (user + nice + system + irq + softirq) / _TICKS
    raise BenchmarkError(f"the kernel knows no core {core}")
