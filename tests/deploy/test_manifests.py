"""The files of deploy/ against published schemas, and against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import DEPLOY, compose_problems, manifest, problems

MANIFESTS = sorted(file for file in DEPLOY.glob("k*/*.yaml") if file.name != "kustomization.yaml")

Break = Callable[[Any], object]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_manifest_is_valid(file: Path) -> None:
    assert problems(yaml.safe_load(file.read_text())) == []


def test_compose_file_is_valid(compose: Any) -> None:
    assert compose_problems(compose) == []


BROKEN: dict[str, tuple[str, Break]] = {
    "unknown field of a container": (
        "deployment",
        lambda m: m["spec"]["template"]["spec"]["containers"][0].update(readynessProbe={}),
    ),
    "probe of a wrong type": (
        "deployment",
        lambda m: m["spec"]["template"]["spec"]["containers"][0]["livenessProbe"].update(periodSeconds="often"),
    ),
    "deployment without selector": ("deployment", lambda m: m["spec"].pop("selector")),
    "unknown field of a scaler": ("autoscaler", lambda m: m["spec"].update(minReplicas=2)),
    "scaler without triggers": ("autoscaler", lambda m: m["spec"].pop("triggers")),
    "scaler with replicas of a wrong type": ("autoscaler", lambda m: m["spec"].update(minReplicaCount="two")),
    "service without predictor": ("inference_service", lambda m: m["spec"].pop("predictor")),
    "unknown field of a predictor": ("inference_service", lambda m: m["spec"]["predictor"].update(minReplica=2)),
    "replicas of a wrong type": ("inference_service", lambda m: m["spec"]["predictor"].update(minReplicas="two")),
    "unknown field of a metric": (
        "inference_service",
        lambda m: m["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["metric"].update(url="x"),
    ),
    "unknown field of a runtime's container": (
        "runtime",
        lambda m: m["spec"]["containers"][0]["securityContext"].update(readOnly=True),
    ),
}


@pytest.mark.parametrize(("name", "damage"), BROKEN.values(), ids=BROKEN)
def test_broken_manifest_is_caught(name: str, damage: Break, request: pytest.FixtureRequest) -> None:
    broken = copy.deepcopy(request.getfixturevalue(name))
    damage(broken)
    assert problems(broken) != []


def test_broken_compose_file_is_caught(compose: Any) -> None:
    compose["services"]["triton"]["readonly"] = True
    (problem,) = compose_problems(compose)
    assert "readonly" in problem


@pytest.mark.parametrize("folder", ["kubernetes", "kserve"])
def test_kustomization_lists_every_manifest(folder: str) -> None:
    listed = manifest(f"{folder}/kustomization.yaml")["resources"]
    assert sorted(listed) == [file.name for file in MANIFESTS if file.parent.name == folder]


def test_names_that_belong_together(deployment: Any, autoscaler: Any) -> None:
    """Selectors, ports and claims: schemas don't compare one object with another."""
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    service, budget, policy = (
        manifest(f"kubernetes/{name}.yaml")["spec"] for name in ("service", "disruption-budget", "network-policy")
    )
    selectors = [service["selector"], budget["selector"]["matchLabels"], policy["podSelector"]["matchLabels"]]
    assert selectors == [labels] * 3
    assert {port["targetPort"] for port in service["ports"]} <= ports
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_a_pod_has_time_to_finish(deployment: Any, inference_service: Any, runtime: Any) -> None:
    for pod, container in (
        (deployment["spec"]["template"]["spec"], deployment["spec"]["template"]["spec"]["containers"][0]),
        (inference_service["spec"]["predictor"], runtime["spec"]["containers"][0]),
    ):
        (exit_timeout,) = (flag for flag in container["args"] if flag.startswith("--exit-timeout-secs="))
        wanted = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(exit_timeout.partition("=")[2])
        assert pod["terminationGracePeriodSeconds"] > wanted


def test_pinned_requirements_are_those_of_the_backend() -> None:
    """What each Dockerfile variant installs, against what the exported models import."""
    for graph, runtime in (("onnx", "onnxruntime-gpu"), ("torchscript", "torch")):
        lines = (DEPLOY / f"requirements-{graph}.txt").read_text().splitlines()
        pins = dict(line.split("==") for line in lines if not line.startswith("#"))
        assert set(pins) == {"numpy", "tokenizers", runtime}
        assert pins["numpy"].startswith("1.")
