"""`dashboard`: every panel of the Grafana dashboard, and the alerts, asked of a real Prometheus."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks._dashboard_load import Callers
from benchmarks._dashboard_panels import answers_of, read_panels
from benchmarks._dashboard_plot import plot_dashboard
from benchmarks._dashboard_prometheus import SHORTENED, Prometheus
from benchmarks._dashboard_texts import Texts
from benchmarks._models import Model
from benchmarks._poison import poison
from benchmarks._servers import free_port
from benchmarks._setup import MODEL, BenchmarkError, Setup, say

__all__ = ["TRITON_OPTIONS", "dashboard", "dashboard_tables"]

TRITON_OPTIONS = ("--metrics-config=summary_latencies=true",)
"""What the dashboard's quantiles need, as in deploy/."""
_MAX_LENGTH, _QUEUE, _REFERENCE = 512, 16, 200
_GOOD_SECONDS, _BAD_SECONDS, _DOWN_SECONDS = 60.0, 20.0, 30.0
_DRIFT_SECONDS = 180.0
"""At most: until a mean over all of the run has moved."""
_READY_SECONDS = 60.0
_PROVOKED = (
    "RewardDistributionShifted",
    "RewardDrift",
    "RewardGatewayErrors",
    "RewardGatewayRefuses",
    "RewardNaN",
    "RewardQueueFull",
    "RewardQueueTimeout",
    "RewardRequestsFail",
    "RewardSequencesInvalid",
    "RewardServerDown",
    "RewardServersGone",
)
_NO_GPU = ("GPU use", "GPU memory")


def dashboard(setup: Setup) -> dict[str, Any]:
    """Runs server, gateway, Prometheus and callers; then asks every panel's query."""
    from rewardserve import RewardClient
    from rewardserve_server import ServeOptions, TritonProcess

    with tempfile.TemporaryDirectory(prefix="rewardserve-dashboard-") as scratch:
        texts = Texts.of(setup.model, setup)
        repository, poisoned = _export(setup.model, texts, Path(scratch) / "repository")
        options = ServeOptions(
            repository=repository, grpc_port=0, http_port=0, metrics_port=0, extra_args=TRITON_OPTIONS
        )
        data = Path(scratch) / "prometheus"
        data.mkdir()
        with TritonProcess(options) as server:
            server.wait_until_ready()
            with (
                _gateway(server.grpc_url) as gateway,
                Prometheus(data, triton=_address(server.metrics_url), gateway=gateway) as prometheus,
                RewardClient(server.grpc_url, timeout=30) as client,
            ):
                callers = Callers(client, server.grpc_url, gateway, texts, poisoned)
                phases = _phases(callers, prometheus, server)
                answers = answers_of(read_panels(), prometheus.query_range)
                fired = prometheus.fired()
                if setup.plots is not None:
                    plot_dashboard(answers, phases, setup.plots / "dashboard.png")
    return {
        "what": (
            f"{setup.model.name} as ONNX in float32 on the Python backend (queue of {_QUEUE}), tritonserver with "
            f"{' '.join(TRITON_OPTIONS)}, a gateway, and Prometheus with the files of deploy/prometheus, "
            f"but: {SHORTENED}. `phases`: seconds at which each began. Queries over all of the run, a sample a second"
        ),
        "prometheus": prometheus.version,
        "phases": {name: began - phases["good"] for name, began in phases.items()},
        "calls": dict(sorted(callers.ended.items())),
        "panels": [
            {**answer.summary(), **({"no_gpu_here": True} if answer.panel.title in _NO_GPU else {})}
            for answer in answers
        ],
        "without_data": sorted({answer.panel.title for answer in answers if not answer.series}),
        "alerts_fired_after_seconds": fired,
        "provoked_but_not_fired": sorted(set(_PROVOKED) - fired.keys()),
    }


def _export(model: Model, texts: Texts, repository: Path) -> tuple[Path, int]:
    """The checkpoint, but for one token whose reward is NaN."""
    from rewardserve_export import ExportOptions, Scheduling, export

    say(f"dashboard: exporting {model.name}")
    summary = export(
        model.directory,
        ExportOptions(
            repository=repository,
            name=MODEL,
            max_length=_MAX_LENGTH,
            reference=texts.first(_REFERENCE),
            scheduling=Scheduling(queue_size=_QUEUE),
        ),
    )
    token = model.vocab_size - 1
    poison(summary.path / "model.onnx", token)
    return repository, token


def _phases(callers: Callers, prometheus: Prometheus, server: Any) -> dict[str, float]:
    """Good times, then bad ones; when each began."""
    phases = {"good": time.time()}
    with callers.working():
        say(f"dashboard: {_GOOD_SECONDS:g} s of work")
        time.sleep(_GOOD_SECONDS)
        phases["NaN"] = time.time()
        with callers.poisoned():
            time.sleep(_BAD_SECONDS)
        phases["burst"] = time.time()
        with callers.bursting():
            time.sleep(_BAD_SECONDS)
        phases["reward hacked"] = time.time()
        with callers.hacking():
            time.sleep(_BAD_SECONDS)
            prometheus.wait_for_alerts(["RewardDrift"], _DRIFT_SECONDS)
        phases["server stopped"] = time.time()
        say("dashboard: the server is stopped")
        server.stop()
        prometheus.wait_for_alerts(_PROVOKED, _DOWN_SECONDS)
    return phases


@contextmanager
def _gateway(triton: str) -> Iterator[str]:
    """`rewardserve gateway`, as a process; yields its host:port."""
    address = f"127.0.0.1:{free_port()}"
    # A short timeout: callers hear soon that the server is gone.
    arguments = ["gateway", "--url", triton, "--port", address.rpartition(":")[2], "--timeout", "3"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from rewardserve.cli import main; main()", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _healthy(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the gateway isn't ready; stderr says why")
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health", timeout=2.0):
            return True
    except OSError:
        return False


def _address(url: str) -> str:
    return url.removeprefix("http://").partition("/")[0]


def dashboard_tables(result: Mapping[str, Any]) -> list[Table]:
    """What each query gave, and which alerts fired."""
    panels = Table("panel", "query", "series", "samples", "smallest", "largest", title="panels", title_justify="left")
    for row in result["panels"]:
        extremes = ("" if row[name] is None else f"{row[name]:.4g}" for name in ("smallest", "largest"))
        note = " (no GPU here)" if row.get("no_gpu_here") else ""
        panels.add_row(row["panel"] + note, Text(row["query"]), str(row["series"]), str(row["samples"]), *extremes)
    alerts = Table("alert", "fired after s", title="alerts", title_justify="left")
    for name, seconds in result["alerts_fired_after_seconds"].items():
        alerts.add_row(name, f"{seconds:.0f}")
    for name in result["provoked_but_not_fired"]:
        alerts.add_row(name, "didn't fire, though it was provoked")
    return [panels, alerts]
