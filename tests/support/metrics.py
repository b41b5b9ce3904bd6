"""What a server's metrics say."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rewardserve_server import TritonProcess

PREFIX = "rewardserve_"


def metrics_page(server: TritonProcess) -> str:
    """All metrics, as Prometheus reads them. Their port opens a moment behind the others."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def samples(server: TritonProcess, version: str = "1", model: str = "reward") -> list[Sample]:
    """Ours, of one version."""
    families = text_string_to_metric_families(metrics_page(server))
    found = [sample for family in families for sample in family.samples if sample.name.startswith(PREFIX)]
    return [each for each in found if (each.labels["model"], each.labels["version"]) == (model, version)]


def counted(server: TritonProcess, version: str = "1", model: str = "reward") -> Counter[str]:
    """The counters, over all processes; those by decile with their number."""
    sums: Counter[str] = Counter()
    for sample in samples(server, version, model):
        if sample.name.endswith("_total"):
            name = sample.name.removeprefix(PREFIX).removesuffix("_total") + sample.labels.get("decile", "")
            sums[name] += sample.value  # type: ignore[assignment]
    return sums


def assert_counted(
    server: TritonProcess, before: Mapping[str, float], expected: Mapping[str, float], version: str = "1"
) -> None:
    """Waits until the counters named have grown by exactly so much, and are what they must be; fails within seconds.

    Args:
        server: The server.
        before: What they were, from `counted`.
        expected: How much each must have grown. A name that is missing doesn't matter.
        version: Of the model.
    """
    deadline = time.monotonic() + 20
    while True:
        now = counted(server, version)
        grown = {name: now[name] - before[name] for name in expected}
        if grown == pytest.approx(expected, rel=1e-9, abs=1e-9) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert grown == pytest.approx(expected, rel=1e-9, abs=1e-9)
