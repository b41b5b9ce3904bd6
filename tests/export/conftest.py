"""Traced once for all tests here: tracing a tiny model takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rewardserve_export import ExportSummary
from rewardserve_export.checkpoint import RewardModel, load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits, trace_onnx, write_onnx
from rewardserve_export.parity import Runner, onnx_runner


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> RewardModel:
    return load_reward_model(open_checkpoint(checkpoint))


@pytest.fixture(scope="session")
def limits(exported: ExportSummary) -> GraphLimits:
    """Those of the exported graph."""
    contract = exported.contract
    return GraphLimits(
        vocab_size=contract.vocab_size,
        max_length=contract.tokenization.max_length,
        max_request_tokens=contract.max_request_tokens,
        identity=contract.identity,
    )


@pytest.fixture(scope="session")
def graph(exported: ExportSummary) -> Path:
    return exported.path / "model.onnx"


@pytest.fixture(scope="session")
def run(graph: Path) -> Runner:
    return onnx_runner(graph)


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Traces a model, with `trace_onnx`'s arguments, and gives the graph's path."""
    return lambda *arguments: write_onnx(trace_onnx(*arguments), tmp_path_factory.mktemp("graph"))
