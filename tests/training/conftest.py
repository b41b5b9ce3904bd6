"""One base and one data file for all trainings; models this small are fastest on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rewardserve_training import TrainSummary, train
from support.training import save_language_model, train_options, write_pairs


@dataclass(frozen=True)
class Trained:
    """A training that other tests look at."""

    summary: TrainSummary
    path: Path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl")


@pytest.fixture(scope="session")
def trained(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All weights, in float32, saved with normalisation."""
    output = tmp_path_factory.mktemp("trained") / "model"
    summary = train(base, train_options(data, output, normalize=True, max_steps=40, eval_steps=20))
    assert summary is not None
    return Trained(summary=summary, path=output)
