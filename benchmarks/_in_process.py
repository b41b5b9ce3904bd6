"""The graph alone, in a process pinned like a server, asked over a pipe: `python -m benchmarks._in_process VERSION`.

Each line on stdin is a list of sequences; each line on stdout their rewards. Runs of several sizes are tried on the
first long one, and the fastest size is kept: a server that cuts runs otherwise has no excuse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._graphs import identity, newest_version, runner, runs_of
from benchmarks._models import Model
from benchmarks._ours import Configuration, exported
from benchmarks._processes import Cores, ProcessTree, pinned
from benchmarks._servers import ONE_THREAD, Server
from benchmarks._setup import BenchmarkError

__all__ = ["InProcess"]

_RUN_TOKENS = (1024, 2048, 4096, 8192)
_LONG = 4096
"""Tokens, from which on the size of runs matters."""


class InProcess(Server):
    """Asked like a server, by one client at a time.

    Args:
        model: The checkpoint.
        configuration: How it is exported.
        cores: Who runs where.
        log: File that gets what it prints.
    """

    def __init__(self, model: Model, configuration: Configuration, cores: Cores, log: Path) -> None:
        version = newest_version(exported(model, configuration))
        log.parent.mkdir(parents=True, exist_ok=True)
        with pinned(frozenset([cores.server])), log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(version)],
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._log = log
        self.tree = ProcessTree(self._process.pid)

    def connect(self) -> InProcess:
        """Itself: there is one pipe."""
        return self

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        """Writes a line and reads one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(sequences).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchmarkError(f"it ended; see {self._log}")
        rewards: list[float] = json.loads(answer)
        return rewards

    def close(self) -> None:
        """The pipe stays open."""

    def stop(self) -> None:
        """Ends the process."""
        self.tree.resume()
        self._process.communicate()


def _main() -> None:
    from rewardserve_export.parity import each_its_own_request, packed_scorer

    version = Path(sys.argv[1])
    score = packed_scorer(runner(version), each_its_own_request, identity(version))

    def rewards(sequences: Sequence[list[int]], run_tokens: int) -> list[float]:
        result = np.zeros(len(sequences))
        for run in runs_of(sequences, run_tokens):
            result[run] = score([np.array(sequences[index], dtype=np.int32) for index in run])
        return [float(reward) for reward in result]

    def seconds(sequences: Sequence[list[int]], run_tokens: int) -> float:
        rewards(sequences, run_tokens)
        began = time.thread_time()
        rewards(sequences, run_tokens)
        return time.thread_time() - began

    fastest: int | None = None
    for line in sys.stdin:
        sequences: list[list[int]] = json.loads(line)
        if fastest is None and sum(map(len, sequences)) >= _LONG:
            times = {size: seconds(sequences, size) for size in _RUN_TOKENS}
            fastest = min(times, key=lambda size: times[size])
        print(json.dumps(rewards(sequences, fastest or _RUN_TOKENS[0])), flush=True)


if __name__ == "__main__":
    _main()
