"""A repository with two versions, each from other weights, and servers that let versions be changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from rewardserve_export import ExportOptions, Scheduling, export
from rewardserve_server import ServeOptions, TritonProcess
from support.checkpoints import llama_config, save_huggingface
from support.releases import ADMIN_KEY
from transformers import LlamaForSequenceClassification

VERSIONS = ("1", "2")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to copy: `release_repository` is."""
    directory = tmp_path_factory.mktemp("releases")
    for seed in VERSIONS:
        torch.manual_seed(int(seed))
        model = LlamaForSequenceClassification(llama_config(num_hidden_layers=1))
        torch.nn.init.normal_(model.score.weight)
        checkpoint = save_huggingface(directory / f"checkpoint-{seed}", model)
        options = ExportOptions(
            repository=directory / "repository",
            max_length=64,
            max_batch_tokens=256,
            scheduling=Scheduling(warmup=True),
            threads=1,
        )
        export(checkpoint, options)
    return directory / "repository"


@pytest.fixture
def release_repository(exports: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports, tmp_path / "repository"))


@pytest.fixture
def start(release_repository: Path) -> Iterator[Callable[[], TritonProcess]]:
    """Starts servers on the repository as it is by then."""
    with ExitStack() as running:

        def call() -> TritonProcess:
            options = ServeOptions(
                repository=release_repository,
                grpc_port=0,
                http_port=0,
                metrics_port=0,
                admin_key=ADMIN_KEY,
                model_control="explicit",
            )
            server = running.enter_context(TritonProcess(options))
            server.wait_until_ready()
            return server

        yield call
