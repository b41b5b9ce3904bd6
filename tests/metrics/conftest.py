"""A server with two versions of a model, two instances each: the first has a reference, the second none."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from rewardserve._contract import contract_parameter
from rewardserve.cli import app
from rewardserve_export.repository import read_config
from rewardserve_export.repository._config import write_config
from rewardserve_server import ServeOptions, TritonProcess
from support.checkpoints import llama_config, save_huggingface
from support.releases import ADMIN_KEY
from transformers import LlamaForSequenceClassification
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from typer.testing import CliRunner

NAN_TOKEN = 399
"""Its embedding is infinite. The tokenizer has no such id, and the export's parity check doesn't happen to use it."""

MAX_LENGTH, MAX_TOKENS = 24, 256


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """None begins as another."""
    return [hashlib.sha256(bytes([number])).hexdigest()[:8] for number in range(100)]


@pytest.fixture(scope="session")
def metrics_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(llama_config(num_hidden_layers=1))
    torch.nn.init.normal_(model.score.weight)
    with torch.no_grad():
        model.model.embed_tokens.weight[NAN_TOKEN] = torch.inf
    return save_huggingface(tmp_path_factory.mktemp("checkpoint"), model)


@pytest.fixture(scope="session")
def metrics_repository(metrics_checkpoint: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("metrics")
    repository, reference = directory / "repository", directory / "reference.jsonl"
    reference.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    sizes = ("--max-length", MAX_LENGTH, "--max-batch-tokens", MAX_TOKENS, "--threads", 1, "--instances", 2)
    command = ("export", metrics_checkpoint, "--repository", repository, "--reference", reference, *sizes)
    result = CliRunner().invoke(app, [*map(str, command)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "from 100 texts" in result.output
    copy_model(repository, "reward", served=("1", "2"), instances=2)
    return repository


def copy_model(repository: Path, name: str, *, served: tuple[str, ...], instances: int) -> None:
    """Version 1 as several, under the name of a model, and without a reference but for the first."""
    model, original = repository / name, repository / "reward"
    config = read_config(original / "config.pbtxt")
    config.name = name
    config.instance_group[0].count = instances
    config.version_policy.specific.versions[:] = map(int, served)
    for version in served:
        if not (model / version).exists():
            shutil.copytree(original / "1", model / version)
            (model / version / "reference.json").unlink()
        config.parameters[contract_parameter(version)].string_value = (original / "1" / "contract.json").read_text()
    write_config(config, model / "config.pbtxt")


@pytest.fixture(scope="session")
def metrics_server(metrics_repository: Path) -> Iterator[TritonProcess]:
    """Beside them it has the model `damaged`, whose reference can't be read."""
    copy_model(metrics_repository, "damaged", served=("1",), instances=1)
    (metrics_repository / "damaged" / "1" / "reference.json").write_text("{")
    options = ServeOptions(
        repository=metrics_repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        admin_key=ADMIN_KEY,
        model_control="explicit",
    )
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def infer(metrics_server: TritonProcess) -> Iterator[Any]:
    """gRPC's own `ModelInfer`."""
    with grpc.insecure_channel(metrics_server.grpc_url) as channel:
        yield GRPCInferenceServiceStub(channel).ModelInfer
