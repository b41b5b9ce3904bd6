from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


def manifest(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


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
