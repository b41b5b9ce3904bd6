"""tritonserver as the files of deploy/ start it."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rewardserve import RewardClient
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_server._binary import find_tritonserver
from rewardserve_server._command import Ports, command
from support.manifests import KEY, with_key
from support.metrics import metrics_page

ELSEWHERE = ("--model-repository", "--backend-directory", "--exit-timeout-secs", "-address", "-port")
"""What differs between this machine and a container."""


def arguments_of(compose: Any, deployment: Any, runtime: Any) -> dict[str, list[str]]:
    return {
        "compose": compose["services"]["triton"]["command"][1:],
        "kubernetes": deployment["spec"]["template"]["spec"]["containers"][0]["args"],
        "kserve": runtime["spec"]["containers"][0]["args"],
    }


def test_flags_are_those_of_serve(compose: Any, deployment: Any, runtime: Any, tmp_path: Path) -> None:
    options = ServeOptions(repository=tmp_path, admin_key=KEY)
    started = command(options, find_tritonserver(None), Ports(8001, 8000, 8002))[1:]
    ours = {flag for flag in started if not any(part in flag.partition("=")[0] for part in ELSEWHERE)}
    for where, arguments in arguments_of(compose, deployment, runtime).items():
        assert ours <= set(with_key(arguments)), where


def test_probes_and_scoring(container: TritonProcess, deployment: Any) -> None:
    (triton,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        with urllib.request.urlopen(container.http_url + triton[probe]["httpGet"]["path"]) as answer:
            assert answer.status == http.client.OK
    with RewardClient(container.grpc_url) as client:
        assert client.score(["a text"]).shape == (1,)


def in_container(command: str, server: TritonProcess) -> int:
    """The exit code of a command in a container where the server is process 1, and has the usual ports."""
    translated = command.replace(" Z 1 ", f" Z {server.pid} ").replace("kill 1;", f"kill {server.pid};")
    assert "localhost:8000/" in command
    assert str(server.pid) in translated
    translated = translated.replace("localhost:8000", server.http_url)
    return subprocess.run(["sh", "-c", translated], stdout=subprocess.DEVNULL, check=False).returncode


def test_a_lost_model_ends_the_container(
    compose: Any, deployment: Any, runtime: Any, exported: ExportSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alive as long as the models are; compose ends it, the others are told to."""
    monkeypatch.setattr("rewardserve_server._stubs._REAPED_SECONDS", 600.0)  # a container has no `TritonProcess`
    liveness = [
        part["containers"][0]["livenessProbe"]["exec"]["command"]
        for part in (deployment["spec"]["template"]["spec"], runtime["spec"])
    ]
    assert liveness[0] == liveness[1]
    shell, option, alive = liveness[0]
    kind, healthcheck = compose["services"]["triton"]["healthcheck"]["test"]
    assert (shell, option, kind) == ("sh", "-c", "CMD-SHELL")
    options = ServeOptions(
        repository=exported.path.parents[1],
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        extra_args=("--exit-timeout-secs=1",),
    )
    with TritonProcess(options) as server:
        server.wait_until_ready()
        assert [in_container(each, server) for each in (alive, healthcheck)] == [0, 0]
        subprocess.run(["pkill", "-KILL", "-P", str(server.pid), "-f", "/reward/1/model.py"], check=True)
        deadline = time.monotonic() + 30
        while not in_container(alive, server):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        in_container(healthcheck, server)
        server.wait()
        assert "Signal (15) received" in server.log_tail()


def test_administration_takes_the_key(container: TritonProcess) -> None:
    index = urllib.request.Request(f"{container.http_url}/v2/repository/index", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(index)
    assert refused.value.code == http.client.FORBIDDEN
    refused.value.close()
    index.add_header("admin-key", KEY)
    with urllib.request.urlopen(index) as answer:
        assert b'"reward"' in answer.read()


def test_the_autoscalers_metric_is_there(container: TritonProcess, autoscaler: Any, inference_service: Any) -> None:
    """Its `namespace` is Prometheus' own; the name, the unit and `model` are Triton's."""
    (trigger,) = autoscaler["spec"]["triggers"]
    (metric,) = inference_service["spec"]["predictor"]["autoScaling"]["metrics"]
    query = trigger["metadata"]["query"]
    assert metric["external"]["metric"]["query"] == query
    found = re.fullmatch(r"sum\(rate\((nv_\w+_us)\{namespace=\"reward\", (model=\"reward\")\}\[1m\]\)\) / 1e6", query)
    assert found is not None
    lines = metrics_page(container).splitlines()
    assert any(line.startswith(found[1] + "{") and found[2] in line for line in lines)
