"""A server that accepts requests and answers none, for as long as a test needs: no test waits for a slow one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardserve_server import TritonProcess


@contextmanager
def held(server: TritonProcess, model: str = "reward") -> Iterator[None]:
    """Stops the processes of a model on the Python backend; tritonserver itself goes on, and queues.

    Yields when they have stopped, and lets them go on at the end.
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


def _instances(server: int, model: str) -> list[int]:
    """The children of tritonserver that run a version of the model."""
    children = [
        int(pid) for tasks in Path(f"/proc/{server}/task").glob("*/children") for pid in tasks.read_text().split()
    ]
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return [pid for pid, command in commands.items() if any(f"/{model}/".encode() in part for part in command)]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
