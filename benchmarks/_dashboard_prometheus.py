"""A real Prometheus, with the configuration of deploy/ but for addresses and times."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks._dashboard_panels import Series, finite_points
from benchmarks._servers import free_port
from benchmarks._setup import BenchmarkError

__all__ = ["SHIPPED", "SHORTENED", "Prometheus"]

SHIPPED = Path(__file__).parent.parent / "deploy" / "prometheus"
SHORTENED = "scraped every second, rules evaluated every second, each alert's `for` 10 s"
_FOR = "10s"
_READY_SECONDS = 30.0


class Prometheus:
    """Prometheus on a free port of 127.0.0.1.

    Args:
        directory: An empty one, for configuration and data.
        triton: `host:port` of the server's metrics.
        gateway: `host:port` of the gateway.

    Attributes:
        version: As it says itself.
    """

    def __init__(self, directory: Path, *, triton: str, gateway: str) -> None:
        binary = shutil.which("prometheus")
        if binary is None:
            raise BenchmarkError("there is no `prometheus` on PATH. Remedy: install it; on Debian, its own package")
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        _write_configuration(directory, triton, gateway)
        self._log = (directory / "log").open("wb")
        self._started = time.time()
        self._process = subprocess.Popen(
            [
                binary,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_until_ready()
            self.version = str(self._get("status/buildinfo")["version"])
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self._url}/-/ready", timeout=1.0):
                    return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"Prometheus isn't ready: {Path(self._log.name).read_text()}") from error
                time.sleep(0.1)

    def query_range(self, query: str) -> list[Series]:
        """The query's series since the start, a sample for each second."""
        found = self._get("query_range", query=query, start=self._started, end=time.time(), step=1)
        return [Series(labels=series["metric"], points=finite_points(series["values"])) for series in found["result"]]

    def fired(self) -> dict[str, float]:
        """Alerts that have been firing, and how many seconds after the start they began to."""
        times: dict[str, float] = {}
        for series in self.query_range('ALERTS{alertstate="firing"}'):
            name, first = series.labels["alertname"], series.points[0][0] - self._started
            times[name] = min(times.get(name, first), first)
        return times

    def wait_for_alerts(self, names: Sequence[str], seconds: float) -> None:
        """Waits until all of them have been firing, or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not set(names) <= self.fired().keys():
            time.sleep(0.5)

    def _get(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=30.0) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise BenchmarkError(f"Prometheus refuses {parameters}: {error.read().decode()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


def _write_configuration(directory: Path, triton: str, gateway: str) -> None:
    import yaml

    configuration = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    jobs["triton"]["static_configs"] = [{"targets": [triton]}]
    (directory / "gateways.yaml").write_text(yaml.safe_dump([{"targets": [gateway]}]))
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    for file in SHIPPED.glob("*.rules.yaml"):
        rules = yaml.safe_load(file.read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
            rule["for"] = _FOR
        (directory / file.name).write_text(yaml.safe_dump(rules))
