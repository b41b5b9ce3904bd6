"""What became of every call of a soak, kept in numbers: its memory mustn't grow with the calls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks._faults_callers import Rewards, Verdict, verdict

__all__ = ["Connection", "Places", "Pool", "Problem", "Report", "Tally"]

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is scored, again and again.

    Attributes:
        pairs: A prompt and its response; the text is one behind the other.
        rewards: Of the texts, by version of the model.
        chat_rewards: The same for a conversation of the two.
    """

    pairs: Sequence[tuple[str, str]]
    rewards: Mapping[str, Rewards]
    chat_rewards: Mapping[str, Rewards]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A client that named no version.

    Attributes:
        began: When it started to connect, on the clock that all processes share.
        ended: When it was connected.
        version: What it got.
    """

    began: float
    ended: float
    version: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error that a caller saw.

    Attributes:
        caller: Kind of caller.
        error: Its class; of HTTP and raw gRPC, the status.
        message: Its own words.
        began: When the call began.
        ended: When the error came.
    """

    caller: str
    error: str
    message: str
    began: float
    ended: float


@dataclass(kw_only=True)
class Report:
    """What happened since the report before.

    Attributes:
        counts: Of (kind of caller, what).
        problems: Errors, in order.
        connections: Likewise.
        longest_stall: Seconds in which no call ended well.
        largest_difference: Of a reward from its own.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    longest_stall: float = 0.0
    largest_difference: float = 0.0

    def add(self, other: Report) -> None:
        """Adds a later one."""
        self.counts.update(other.counts)
        self.problems += other.problems
        self.connections += other.connections
        self.longest_stall = max(self.longest_stall, other.longest_stall)
        self.largest_difference = max(self.largest_difference, other.largest_difference)

    def total(self, what: str) -> int:
        """Over all kinds of callers."""
        return sum(count for (_, counted), count in self.counts.items() if counted == what)


class Tally:
    """Judges calls of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report = Report()
        self._last_answer = time.monotonic()

    def judge(
        self, caller: str, rewards: Rewards | None, places: Places, table: Mapping[str, Rewards], version: str | None
    ) -> None:
        """Compares what a call gave with what it should have given.

        Args:
            caller: Kind of caller.
            rewards: What it got; None if it gave up.
            places: Of its texts in the table.
            table: Rewards of each version.
            version: That computed them; None: any, but one for all of them.
        """
        versions = [version] if version is not None else list(table)
        found = [verdict(rewards, table[each][places], np.sort(table[each])) for each in versions]
        index = min(range(len(found)), key=lambda each: found[each].wrong)
        with self._lock:
            self._count(caller, found[index], len(places))
            now = time.monotonic()
            if rewards is not None:
                self._report.counts[caller, f"answered by version {versions[index]}"] += 1
                self._report.longest_stall = max(self._report.longest_stall, now - self._last_answer)
                self._last_answer = now

    def _count(self, caller: str, found: Verdict, texts: int) -> None:
        counted = {"lost": found.lost, "wrong": found.wrong, "duplicated": found.duplicated}
        for what, count in {"calls": 1, "texts": texts, **counted}.items():
            self._report.counts[caller, what] += count
        self._report.largest_difference = max(self._report.largest_difference, found.largest_difference)

    def count(self, caller: str, what: str) -> None:
        """Counts something else."""
        with self._lock:
            self._report.counts[caller, what] += 1

    def failed(self, caller: str, error: str, message: str, began: float) -> None:
        """Notes an error."""
        problem = Problem(caller=caller, error=error, message=message[:300], began=began, ended=time.monotonic())
        with self._lock:
            self._report.problems.append(problem)

    def connected(self, version: str, began: float) -> None:
        """Notes a new client that follows the default."""
        connection = Connection(began=began, ended=time.monotonic(), version=version)
        with self._lock:
            self._report.connections.append(connection)

    def drain(self) -> Report:
        """What was noted since the last time."""
        with self._lock:
            report, self._report = self._report, Report()
        return report
