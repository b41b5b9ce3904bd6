"""The judgement of `soak`: whatever it must find is found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._soak_faults import SWITCH, Fault
from benchmarks._soak_memory import slope
from benchmarks._soak_report import soak_failures, summed_up
from benchmarks._soak_tally import Connection, Problem, Report, Tally

TABLE = {
    "1": np.array([0.1, 0.2, 0.3], dtype=np.float32),
    "2": np.array([1.1, 1.2, 1.3], dtype=np.float32),
}
PLACES = np.array([2, 0])


def judged(rewards: list[float] | None, version: str | None) -> tuple[int, int, int]:
    tally = Tally()
    tally.judge("score", None if rewards is None else np.array(rewards, dtype=np.float32), PLACES, TABLE, version)
    report = tally.drain()
    assert report.total("texts") == 2
    assert tally.drain().total("texts") == 0
    return report.total("lost"), report.total("wrong"), report.total("duplicated")


def test_what_became_of_rewards() -> None:
    assert judged([0.3, 0.1], "1") == (0, 0, 0)
    assert judged([1.3, 1.1], "1") == (0, 2, 0), "a pinned client sees the other version"
    assert judged([1.3, 1.1], None) == (0, 0, 0)
    assert judged([1.3, 0.1], None) == (0, 1, 0), "from two versions"
    assert judged([0.1, 0.3], "1") == (0, 2, 2), "swapped"
    assert judged([0.3], "1") == (1, 0, 0)
    assert judged(None, "1") == (2, 0, 0)


def fault(kind: str, began: float, ended: float, version: str = "2") -> Fault:
    return Fault(kind=kind, began=began, ended=ended, version=version)


def problem(caller: str, began: float) -> Problem:
    return Problem(caller=caller, error="UNAVAILABLE", message="gone", began=began, ended=began + 0.5)


def failures(callers: Report, memory: dict[str, dict[str, object]] | None = None) -> list[str]:
    faults = [fault(SWITCH, 10, 20), fault("server SIGKILL", 50, 60), fault(SWITCH, 100, 110, "1")]
    return soak_failures(summed_up(200.0, callers, Report(), faults, deaths=(), aborted=0, memory=memory or {}))


def test_errors_that_our_client_should_have_dealt_with() -> None:
    assert failures(Report(problems=[problem("text model", 55)])) == []
    assert failures(Report(problems=[problem("text model", 80)])) == [
        "unexpected errors: {'text model: UNAVAILABLE': 1}"
    ]
    assert failures(Report(problems=[problem("score", 55)])) == ["unexpected errors: {'score: UNAVAILABLE': 1}"]


def test_clients_that_got_another_version_than_the_default() -> None:
    def connected(began: float, version: str) -> list[str]:
        return failures(Report(connections=[Connection(began=began, ended=began + 1, version=version)]))

    assert connected(30, "2") == connected(15, "1") == connected(120, "1") == []
    assert connected(30, "1") == connected(120, "2") == ["1 connections got another version than the default"]


def test_memory_that_grows() -> None:
    seconds = [float(second) for second in range(0, 3600, 10)]
    noise = np.random.default_rng(0).normal(0, 1e6, len(seconds))
    line = slope(seconds, (5e8 + 1e8 * np.array(seconds) / 3600 + noise).tolist())
    assert line.per_hour == pytest.approx(1e8, abs=4 * line.standard_error)
    assert line.standard_error == pytest.approx(1e6 / np.sqrt(len(seconds) / 12), rel=0.2)
    grows = {"bytes_per_hour": 1e8, "standard_error": 1e6, "judged": True, "grows": True}
    assert failures(Report(), {"gateway": grows}) == ["gateway grows by 100 MB an hour"]
    assert failures(Report(), {"gateway": {**grows, "judged": False}}) == []
