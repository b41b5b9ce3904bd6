"""The faults of a soak, one after another, each until all is well again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks._faults_replica import Replica
from benchmarks._setup import MODEL

__all__ = ["SWITCH", "Fault", "Faults"]

SWITCH = "version switch"

_LONGEST_OUTAGE = 3.0
_LONGEST_PAUSE = 8.0
"""Some seconds are enough for Triton 24.10 to abort, or to mix answers up."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One that was done.

    Attributes:
        kind: Which.
        began: On the clock that all processes share.
        ended: When all was well again.
        version: The default version from then on.
    """

    kind: str
    began: float
    ended: float
    version: str


class Faults:
    """Faults of two replicas that read one repository.

    Args:
        repository: Theirs; it holds versions 1 and 2.
        mortal: Is killed, paused, and started again, as `rewardserve serve` does.
        lasting: Only switches versions: how its memory develops would be lost with it.

    Attributes:
        done: In order.
        version: The default version.
        aborted: How often a server didn't survive a pause.
        deaths: How servers ended by themselves otherwise.
    """

    def __init__(self, repository: Path, mortal: Replica, lasting: Replica) -> None:
        self._repository, self._mortal, self._lasting = repository, mortal, lasting
        self.done: list[Fault] = []
        self.version = "2"
        self.aborted = 0
        self._was_paused = False
        self.deaths: list[str] = []
        self._kinds: dict[str, Callable[[], None]] = {
            SWITCH: self._switch,
            "server SIGKILL": lambda: self._restart(mortal.kill),
            "server SIGTERM": lambda: self._restart(self._terminate),
            "stub SIGKILL": self._kill_stub,
            "server SIGSTOP": self._pause,
            "stub SIGSTOP": self._pause_stub,
        }
        self._left: list[str] = []

    def serve_both_versions(self) -> None:
        """From the highest alone, that is served after an export; the default is the same behind it."""
        self._switch()
        self._switch()

    def next(self) -> Fault:
        """Does another: all kinds in turn, in an order that changes."""
        from rewardserve import RewardServeError

        if not self._left:
            self._left = random.sample(list(self._kinds), len(self._kinds))
        kind, began = self._left.pop(), time.monotonic()
        self._revive()
        try:
            self._kinds[kind]()
        except RewardServeError:  # a server died of an earlier pause: promote again, as the message says
            if not self._revive():
                raise
            self._kinds[kind]()
        self._revive()
        fault = Fault(kind=kind, began=began, ended=time.monotonic(), version=self.version)
        self.done.append(fault)
        return fault

    def _revive(self) -> bool:
        """Starts again what ended by itself; whether anything did."""
        found = False
        for replica in (self._mortal, self._lasting):
            if (death := replica.death()) is not None:
                found = True
                if replica is self._mortal and self._was_paused:
                    self.aborted += 1
                else:
                    self.deaths.append(death)
                self._start(replica)
        return found

    def _start(self, replica: Replica) -> None:
        replica.start()
        if replica is self._mortal:
            self._was_paused = False

    def _switch(self) -> None:
        from rewardserve_export.repository import ModelDirectory, promote
        from rewardserve_server import ServerControl

        version = "1" if self.version == "2" else "2"
        with ExitStack() as stack:
            servers = [
                stack.enter_context(ServerControl(replica.url, admin_key=replica.admin_key))
                for replica in (self._mortal, self._lasting)
            ]
            promote(ModelDirectory(self._repository, MODEL), version, servers)
        self.version = version

    def _restart(self, end: Callable[[], None]) -> None:
        end()
        time.sleep(random.uniform(0, _LONGEST_OUTAGE))
        self._start(self._mortal)

    def _terminate(self) -> None:
        if self._mortal.terminate():
            return
        if self._was_paused:
            self.aborted += 1
        else:
            self.deaths.append("not: asked to, by SIGTERM, it hung")

    def _kill_stub(self) -> None:
        os.kill(random.choice(list(self._mortal.stubs().values())), signal.SIGKILL)
        self._mortal.wait_for_end()
        self._start(self._mortal)

    def _pause(self) -> None:
        self._was_paused = True
        self._mortal.pause()
        time.sleep(random.uniform(0.5, _LONGEST_PAUSE))
        self._mortal.resume()

    def _pause_stub(self) -> None:
        self._was_paused = True
        stub = random.choice(list(self._mortal.stubs().values()))
        os.kill(stub, signal.SIGSTOP)
        time.sleep(random.uniform(0.5, _LONGEST_PAUSE))
        with suppress(ProcessLookupError):  # gone with a server that aborted
            os.kill(stub, signal.SIGCONT)
