"""A server that accepts requests and answers none, while a test looks: no test needs a slow one."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardserve_server import TritonProcess


@contextmanager
def held(server: TritonProcess, model: str = "reward") -> Iterator[None]:
    """Stops the processes of a model on the Python backend; tritonserver itself goes on, and queues.

    Yields when they have stopped, and lets them go on at the end. After some 5 seconds of it tritonserver may give them
    up, so it is for short looks at servers of a test's own.
    """
    pids = _instances(server.pid, model)
    assert pids, f"model {model} has a process"
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while any(_state(pid) != "T" for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def waiting(server: TritonProcess, version: str, *, more_than: int) -> int:
    """How many requests are in the queue of a version of `reward`, once they are more than that and no more arrive."""
    name = f'nv_inference_pending_request_count{{model="reward",version="{version}"}} '
    deadline = time.monotonic() + 30
    counts = [0]
    while counts[-1] <= more_than or counts[-1] != counts[-2]:
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)
        with urllib.request.urlopen(server.metrics_url) as page:
            lines = page.read().decode().splitlines()
        counts += [int(line.removeprefix(name)) for line in lines if line.startswith(name)]
    return counts[-1]


def _instances(server: int, model: str) -> list[int]:
    """The children of tritonserver that run a version of the model."""
    children = [
        int(pid) for tasks in Path(f"/proc/{server}/task").glob("*/children") for pid in tasks.read_text().split()
    ]
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return [pid for pid, command in commands.items() if any(f"/{model}/".encode() in part for part in command)]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
