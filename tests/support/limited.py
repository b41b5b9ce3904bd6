"""A call in a process of its own, with bounds on its time and memory: what hostile input gets can't hurt the tests."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve import RewardServeError

SECONDS = 10
"""Of processor time, which a busy machine doesn't shorten."""
MEMORY = 1 << 30
"""Bytes on top of what the process has with its libraries loaded."""

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "fastapi.testclient",
        "peft",
        "rewardserve_evaluation",
        "rewardserve_export",
        "rewardserve_server.gateway._app",
        "rewardserve_server.playground._app",
        "transformers.models.llama.modeling_llama",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a call.

    Attributes:
        kind: The error's class, `returned`, or `killed`.
        ours: Whether it is an error that rewardserve raises on purpose.
        text: The error's message, or what was returned.
        seconds: Of processor time.
        memory: Bytes at most, beyond those before the call.
    """

    kind: str
    ours: bool
    text: str
    seconds: float
    memory: int


def run_limited(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Calls a module's function in a process with `SECONDS` and `MEMORY`; one that takes more is killed.

    The process is forked off one that has loaded the libraries, so it starts at once.
    """
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_call, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        # One that waits for something (a FIFO) takes no processor time.
        outcome: Outcome = receiver.recv() if receiver.poll(6 * SECONDS) else _killed("it waits")
    except EOFError:
        process.join()
        outcome = _killed(f"exit code {process.exitcode}")
    process.kill()
    process.join()
    return outcome


def _killed(why: str) -> Outcome:
    return Outcome(kind="killed", ours=False, text=why, seconds=float(SECONDS), memory=MEMORY)


def _call(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before = _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    started = time.process_time()
    try:
        kind, ours, text = "returned", False, repr(function(*arguments))
    except BaseException as error:
        kind, ours, text = type(error).__name__, isinstance(error, RewardServeError), str(error)
    seconds = time.process_time() - started
    memory = max(0, _status("VmHWM") - before)
    sender.send(Outcome(kind=kind, ours=ours, text=text[:2000], seconds=seconds, memory=memory))


def _status(field: str) -> int:
    """Bytes, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))
