"""The Grafana dashboard and the Prometheus rules of deploy/ against what a real server and gateway expose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from rewardserve import AsyncRewardClient, RewardClient
from rewardserve_server import TritonProcess
from rewardserve_server.gateway import GatewayOptions, create_app
from support.manifests import DEPLOY, manifest
from support.metrics import metrics_page

from benchmarks._dashboard import TRITON_OPTIONS
from benchmarks._dashboard_panels import DASHBOARD, Panel, metrics_in, read_panels
from benchmarks._dashboard_prometheus import SHIPPED

GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
"""Only there where Triton finds a GPU."""
PROMETHEUS = {"up", "ALERTS"}
TESTS = Path(__file__).with_name("alerts.test.yaml")
RULES = [rule for file in SHIPPED.glob("*.rules.yaml") for group in yaml.safe_load(file.read_text())["groups"]
         for rule in group["rules"]]  # fmt: skip
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = read_panels()


@pytest.fixture(scope="module")
def exposed(container: TritonProcess) -> set[str]:
    """Names on the server's and a gateway's /metrics behind a request to each."""
    client = AsyncRewardClient(container.grpc_url)
    with RewardClient(container.grpc_url) as direct, TestClient(create_app(client, GatewayOptions())) as gateway:
        direct.score(["a text"])
        assert gateway.post("/get_reward", json={"query": ["a text"]}).is_success
        pages = gateway.get("/metrics").text
        gateway.portal.call(client.close)
    pages += metrics_page(container)
    # A counter with labels has a TYPE, but no sample before something was counted.
    return set(re.findall(r"^(?:# TYPE )?(\w+)", pages, re.MULTILINE))


def queries() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        yield from ((panel.title, query) for query, _ in panel.queries)
    yield from ((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES)


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_queries_name_metrics_that_exist(where: str, query: str, exposed: set[str]) -> None:
    names = metrics_in(query)
    assert names or ":" in query
    assert names <= exposed | GPU | PROMETHEUS


def test_metrics_in_an_expression() -> None:
    query = 'sum by (le, model) (rate(nv_a{x="nv_no{"}[1m])) / on (b) rewardserve_c unless m:nv_d:rate5m > other[1d]'
    assert metrics_in(query) == {"nv_a", "rewardserve_c", "other"}


def test_panels_dont_overlap_and_have_names_of_their_own() -> None:
    def overlap(one: Panel, other: Panel) -> bool:
        (x, y, wide, high), (a, b, width, height) = one.position, other.position
        return x < a + width and a < x + wide and y < b + height and b < y + high

    assert len({panel.title for panel in PANELS}) == len(PANELS)
    assert [pair for pair in combinations(PANELS, 2) if overlap(*pair)] == []
    identifiers = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: Any) -> None:
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"]
    assert "Remedy: " in alert["annotations"]["description"]
    named = re.findall(r'"([^"]+)"', alert["annotations"]["description"])
    assert set(named) <= {panel.title for panel in PANELS} | {"malformed request"}


def test_every_alert_is_tested_and_documented() -> None:
    names = {alert["alert"] for alert in ALERTS}
    assert names <= set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))
    table = (DEPLOY.parent / "docs" / "observability.md").read_text()
    documented = set(re.findall(r"^\| `(Reward\w+)` \| (\w+) \|", table, re.MULTILINE))
    assert documented == {(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS}


def test_rules_name_recorded_series_that_exist() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert {name for rule in RULES for name in re.findall(r"\w+:\w+:\w+", rule["expr"])} <= recorded


def test_compose_mounts_what_prometheus_and_grafana_read(compose: Any) -> None:
    mounts = [
        volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in compose["services"][name]["volumes"]
    ]
    places = {target: DEPLOY / source for source, target in mounts if source.startswith(".")}
    configuration = places["/etc/prometheus"] / "prometheus.yml"
    jobs = {job["job_name"]: job for job in yaml.safe_load(configuration.read_text())["scrape_configs"]}
    assert (configuration.parent / jobs["gateway"]["file_sd_configs"][0]["files"][0]).is_file()
    (provider,) = manifest("grafana/provisioning/dashboards/rewardserve.yaml")["providers"]
    assert places[provider["options"]["path"]] == DASHBOARD.parent


def test_servers_are_started_with_what_the_quantiles_need(compose: Any, deployment: Any, runtime: Any) -> None:
    for arguments in (
        compose["services"]["triton"]["command"],
        deployment["spec"]["template"]["spec"]["containers"][0]["args"],
        runtime["spec"]["containers"][0]["args"],
    ):
        assert set(TRITON_OPTIONS) <= set(arguments)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of the package prometheus, isn't installed")
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", SHIPPED / "prometheus.yml"), ("test", "rules", TESTS)],
    ids=["configuration", "alerts"],
)
def test_promtool_agrees(arguments: tuple[Any, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
