"""A server that was stopped, and started on the same port with another export of the same name and version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve import ModelChangedError, RewardClient
from rewardserve_export import ExportOptions, ExportSummary, export
from rewardserve_server import ServeOptions, TritonProcess
from support.checkpoints import llama_config, save_huggingface
from transformers import LlamaForSequenceClassification

TEXTS = ["a good answer", "a bad one", "x"]


@contextmanager
def serving(repository: Path, grpc_port: int = 0) -> Iterator[str]:
    options = ServeOptions(repository=repository, grpc_port=grpc_port, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process.grpc_url


def test_only_a_replica_is_taken_for_the_model(
    exported: ExportSummary, repository: Path, checkpoint: Path, tmp_path: Path
) -> None:
    replica = export(checkpoint, ExportOptions(repository=tmp_path / "replica", max_length=256))
    assert replica.contract != exported.contract
    assert replica.contract.identity == exported.contract.identity
    torch.manual_seed(1)
    weights = LlamaForSequenceClassification(llama_config())
    other = export(
        save_huggingface(tmp_path / "checkpoint", weights), ExportOptions(repository=tmp_path / "other", max_length=512)
    )
    assert (replica.version, other.version) == (exported.version, exported.version)

    with serving(repository) as url:
        client = RewardClient(url)
        rewards = client.score(TEXTS)
    port = int(url.rpartition(":")[2])
    with serving(tmp_path / "replica", port):
        assert np.array_equal(client.score(TEXTS), rewards)
    with serving(tmp_path / "other", port), client:
        with pytest.raises(ModelChangedError, match="Remedy: make a new client") as raised:
            client.score(TEXTS)
        assert raised.value.missing == [0, 1, 2]
        assert raised.value.partial is not None
        assert np.isnan(raised.value.partial).all()
        with pytest.raises(ModelChangedError):  # of one text, the second answer tells
            client.score(TEXTS[:1])
        with RewardClient(url) as new:
            assert np.abs(new.score(TEXTS) - rewards).min() > 0
