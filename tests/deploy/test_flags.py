"""tritonserver as the files of deploy/ start it."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from rewardserve import RewardClient
from rewardserve_server import ServeOptions, TritonProcess
from rewardserve_server._binary import find_tritonserver
from rewardserve_server._command import Ports, command
from support.manifests import KEY, with_key

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
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        with urllib.request.urlopen(container.http_url + triton[probe]["httpGet"]["path"]) as answer:
            assert answer.status == http.client.OK
    with RewardClient(container.grpc_url) as client:
        assert client.score(["a text"]).shape == (1,)


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
    with urllib.request.urlopen(container.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    assert any(line.startswith(found[1] + "{") and found[2] in line for line in lines)
