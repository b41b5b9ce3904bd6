"""The load generator, against sessions that answer at once; and what is known of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks._load import drive
from benchmarks._processes import ProcessTree, pinned
from benchmarks._workloads import Workload

WORKLOAD = Workload(name="few", clients=3, requests=tuple([[index, index + 1]] for index in range(10)))


class Recorder:
    """Notes what each session was asked."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.requests: list[list[int]] = []
        self.threads: set[int] = set()
        self.opened = self.closed = 0
        self.fail_at = fail_at
        self.lock = threading.Lock()

    def connect(self) -> Recorder:
        with self.lock:
            self.opened += 1
        return self

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        with self.lock:
            self.threads.add(threading.get_ident())
            self.requests.extend(sequences)
            if sequences[0][0] == self.fail_at:
                raise ConnectionError("the server is gone")
        return [0.0]

    def close(self) -> None:
        with self.lock:
            self.closed += 1


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_every_request_is_sent_once_and_sessions_are_closed() -> None:
    recorder = Recorder()
    load = drive(WORKLOAD, recorder.connect)
    assert sorted(recorder.requests) == [[index, index + 1] for index in range(10)]
    assert recorder.opened == recorder.closed == 3
    assert len(load.request_seconds) == 10
    assert load.seconds >= max(load.request_seconds)


def test_a_failed_request_is_raised() -> None:
    recorder = Recorder(fail_at=4)
    with pytest.raises(ConnectionError, match="the server is gone"):
        drive(WORKLOAD, recorder.connect)
    assert recorder.opened == recorder.closed


def test_a_session_that_cannot_be_opened_is_raised() -> None:
    def refuse() -> Recorder:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        drive(WORKLOAD, refuse)


def test_a_process_started_while_pinned_stays_on_that_core() -> None:
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    with pinned(frozenset([core])):
        ask = "import os; print(os.sched_getaffinity(0))"
        output = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout
    assert output.strip() == str({core})
    assert os.sched_getaffinity(0) == before


def test_a_paused_tree_uses_no_processor_time() -> None:
    spin = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while True: pass']); print(flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", f"{spin}while True: pass"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = ProcessTree(process.pid)
        pids = tree.pids()
        try:
            assert len(pids) == 2
            assert tree.memory() > 1_000_000
            tree.pause()
            deadline = time.monotonic() + 10
            while {state(pid) for pid in pids} != {"T"}:
                assert time.monotonic() < deadline
            used = tree.cpu_seconds()
            time.sleep(0.1)
            assert tree.cpu_seconds() == used
        finally:
            tree.resume()
            for pid in reversed(pids):
                os.kill(pid, 9)
