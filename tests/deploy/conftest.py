from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rewardserve_export import ExportSummary, RewardReference
from rewardserve_server import ServeOptions, TritonProcess
from support.manifests import manifest, with_key


@pytest.fixture
def deployment() -> Any:
    return manifest("kubernetes/deployment.yaml")


@pytest.fixture
def runtime() -> Any:
    return manifest("kserve/serving-runtime.yaml")


@pytest.fixture
def inference_service() -> Any:
    return manifest("kserve/inference-service.yaml")


@pytest.fixture
def autoscaler() -> Any:
    return manifest("kubernetes/autoscaler.yaml")


@pytest.fixture
def compose() -> Any:
    return manifest("compose.yaml")


@pytest.fixture(scope="session")
def container(
    exported: ExportSummary, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """The Deployment's command line, as a process of this machine; its model has a reference of rewards."""
    served = shutil.copytree(repository, tmp_path_factory.mktemp("container") / "repository")
    reference = RewardReference(texts=100, mean=0.0, std=1.0, deciles=tuple(tenth / 10 for tenth in range(-4, 5)))
    (served / exported.path.relative_to(repository) / "reference.json").write_text(reference.to_json())
    (triton,) = manifest("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    arguments = [flag for flag in with_key(triton["args"]) if not flag.startswith("--model-repository")]
    options = ServeOptions(repository=served, grpc_port=0, http_port=0, metrics_port=0, extra_args=tuple(arguments))
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process
