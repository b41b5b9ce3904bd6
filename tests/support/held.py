"""A model that takes requests and computes none while a test looks: no test needs a slow machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardserve_server import TritonProcess

from support.metrics import metrics_page

_GATE = """

import time

_execute = TritonPythonModel.execute


def _wait_and_execute(self, requests):
    while (Path(__file__).parent / "held").exists():
        time.sleep(0.01)
    return _execute(self, requests)


TritonPythonModel.execute = _wait_and_execute
"""


def make_holdable(version: Path) -> None:
    """Puts a gate before the computing of a version of a model on the Python backend, that `held` closes.

    Args:
        version: Its directory in a repository of the test's own, before a server loads it.
    """
    with (version / "model.py").open("a") as code:
        code.write(_GATE)


@contextmanager
def held(version: Path) -> Iterator[None]:
    """Closes the gate: what is computed by now still ends."""
    (version / "held").touch()
    try:
        yield
    finally:
        (version / "held").unlink()


def pending(server: TritonProcess, version: Path) -> int:
    """How many requests are in the version's queue."""
    labels = f'{{model="{version.parent.name}",version="{version.name}"}} '
    _, _, rest = metrics_page(server).partition(f"nv_inference_pending_request_count{labels}")
    return int(rest.split()[0])


def wait_for_pending(server: TritonProcess, version: Path, *, more_than: int) -> int:
    """How many requests are in the version's queue, once they are more than that and no more arrive."""
    deadline = time.monotonic() + 30
    counts = [0]
    while counts[-1] <= more_than or counts[-1] != counts[-2]:
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)
        counts.append(pending(server, version))
    return counts[-1]
