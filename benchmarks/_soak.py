"""`soak`: mixed traffic for as long as one likes, while strangers send nonsense and servers die."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._faults_models import FaultModels, rollouts
from benchmarks._faults_replica import Replica
from benchmarks._setup import MODEL, BenchmarkError, Setup, say
from benchmarks._soak_callers import Addresses, run_callers
from benchmarks._soak_faults import Faults
from benchmarks._soak_malformed import run_malformed
from benchmarks._soak_memory import MemoryWatch
from benchmarks._soak_report import summed_up
from benchmarks._soak_tally import Pool
from benchmarks._soak_worker import Worker

__all__ = ["soak"]

_TEXTS = 1200
_QUIET_SECONDS = 20.0
"""At the beginning and at the end no fault is made."""
_BETWEEN_FAULTS = 5.0
_PROGRESS_SECONDS = 15.0


def soak(setup: Setup) -> dict[str, Any]:
    """Two replicas, two versions, a gateway, all kinds of callers, strangers, faults; what became of every reward."""
    with tempfile.TemporaryDirectory(prefix="rewardserve-soak-") as directory, ExitStack() as stack:
        repository = FaultModels(directory=Path(directory)).two_versions
        mortal, lasting = (
            stack.enter_context(Replica(repository, model_control="explicit")) for _ in ("mortal", "lasting")
        )
        faults = Faults(repository, mortal, lasting)
        faults.serve_both_versions()
        pool = _pool(lasting.url)
        urls = [mortal.url, lasting.url]
        gateway, gateway_pid = stack.enter_context(_gateway(urls))
        say(f"soak: {setup.minutes:g} minutes")
        addresses = Addresses(grpc=urls, http=[mortal.http_url, lasting.http_url], gateway=gateway)
        began = time.monotonic()
        callers = stack.enter_context(Worker(run_callers, addresses, pool))
        strangers = stack.enter_context(Worker(run_malformed, urls))
        memory = MemoryWatch(
            lambda: {
                "tritonserver": lasting.pid,
                **{f"stub {name}": pid for name, pid in lasting.stubs().items()},
                "gateway": gateway_pid,
                "clients": callers.pid,
            }
        )
        _disturb(faults, began + 60 * setup.minutes, callers, strangers, memory)
        resident = memory.stop()
        strangers.stop()
        callers.stop()
        return summed_up(
            time.monotonic() - began,
            callers.report,
            strangers.report,
            faults.done,
            deaths=faults.deaths,
            aborted=faults.aborted,
            memory=resident,
        )


def _pool(url: str) -> Pool:
    """Texts, and what each version gives for them while nothing else happens."""
    from rewardserve import RewardClient

    pairs = []
    for call in rollouts(_TEXTS // 4, 4, seed=7):
        for text in call:
            words = text.split(" ")
            pairs.append((" ".join(words[:16]) + " ", " ".join(words[16:])))
    texts = [prompt + response for prompt, response in pairs]
    dialogues = [f"user {prompt} assistant {response} " for prompt, response in pairs]
    rewards, chat = {}, {}
    for version in ("1", "2"):
        with RewardClient(url, version=version) as client:
            rewards[version], chat[version] = client.score(texts), client.score(dialogues)
    apart = float(np.abs(rewards["1"] - rewards["2"]).min())
    say(f"soak: {_TEXTS} texts, whose rewards differ by {apart:.1e} or more between the versions")
    return Pool(pairs=pairs, rewards=rewards, chat_rewards=chat)


def _disturb(faults: Faults, end: float, callers: Worker, strangers: Worker, memory: MemoryWatch) -> None:
    """One fault after another, and a line of progress now and then."""
    due, told = time.monotonic() + _QUIET_SECONDS, 0.0
    while (now := time.monotonic()) < end:
        if now >= due and now < end - _QUIET_SECONDS:
            faults.next()
            due = time.monotonic() + random.uniform(1, _BETWEEN_FAULTS)
        if now - told >= _PROGRESS_SECONDS:
            told = now
            report = callers.report
            say(
                f"soak: {end - now:5.0f} s left, {report.total('calls')} calls, {report.total('texts')} texts, "
                f"lost {report.total('lost')}, wrong {report.total('wrong')}, errors {len(report.problems)}, "
                f"malformed {strangers.report.total('calls')}, faults {len(faults.done)}, "
                f"memory {memory.latest() / 1e6:.0f} MB"
            )
        time.sleep(0.2)


@contextmanager
def _gateway(urls: list[str]) -> Iterator[tuple[str, int]]:
    """`rewardserve gateway`, in a process of its own: its URL and its process id."""
    command = [sys.executable, "-c", "from rewardserve.cli import main; main()", "gateway", "--port", "0"]
    for url in urls:
        command += ["--url", url]
    with subprocess.Popen(
        [*command, "--model", MODEL], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "/get_reward" in line:
                    yield line.split()[-1].removesuffix("/get_reward"), process.pid
                    return
            raise BenchmarkError("the gateway ended before it took calls")
        finally:
            process.terminate()
