"""Processes that work until they are told to stop, and report meanwhile."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks._setup import BenchmarkError
from benchmarks._soak_tally import Report, Tally

__all__ = ["Stop", "Worker"]

_REPORT_SECONDS = 1.0
_END_SECONDS = 200.0
"""Longer than any call's timeout."""


class Stop(Protocol):
    """An event, of threads or of processes."""

    def is_set(self) -> bool:
        """Whether it is time to end."""

    def wait(self, timeout: float) -> bool:
        """The same, or after some seconds."""


class Worker:
    """A process of its own, started by the constructor.

    Args:
        run: What it does: called with `arguments`, a tally, and a stop.
        *arguments: Anything that can be pickled.

    Attributes:
        report: What it reported so far.
    """

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._reports, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(run, arguments, sender, self._stop), daemon=True)
        self._process.start()
        sender.close()
        self.report = Report()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def stop(self) -> None:
        """Lets it finish.

        Raises:
            BenchmarkError: It failed, or doesn't end.
        """
        self._stop.set()
        self._process.join(_END_SECONDS)
        code = self._process.exitcode
        self._process.kill()
        self._thread.join()
        if code != 0:
            raise BenchmarkError(f"{self._process.name} ended with exit code {code}")

    def _receive(self) -> None:
        while True:
            try:
                self.report.add(self._reports.recv())
            except EOFError:
                return


def _work(run: Callable[..., None], arguments: tuple[Any, ...], reports: Any, stop: Any) -> None:
    tally, done = Tally(), threading.Event()

    def report() -> None:
        while not done.wait(_REPORT_SECONDS):
            reports.send(tally.drain())
        reports.send(tally.drain())

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        run(*arguments, tally, stop)
    finally:
        done.set()
        reporter.join()
