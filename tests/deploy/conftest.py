from __future__ import annotations

from typing import Any

import pytest
from support.manifests import manifest


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
