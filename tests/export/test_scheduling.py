"""What a server is told about running a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardserve import ExportError, _wire
from rewardserve_export import Scheduling
from rewardserve_export.repository import reward_config, stage_warmup
from support.contracts import make_contract
from tritonclient.grpc import model_config_pb2 as pb

CONTRACT = make_contract(max_length=100, max_request_tokens=1000, max_batch_tokens=8000)


def configured(backend: Any = "python", **options: Any) -> Any:
    scheduling = Scheduling(**options)
    smaller = make_contract(max_length=50, max_request_tokens=220).to_json()
    return reward_config("reward", backend, CONTRACT, version="2", earlier={"1": smaller}, scheduling=scheduling)


def test_copies() -> None:
    (group,) = configured(instances=3).instance_group
    assert (group.count, group.kind, list(group.gpus)) == (3, pb.ModelInstanceGroup.KIND_AUTO, [])
    (group,) = configured(instances=2, gpus=(0, 3)).instance_group
    assert (group.count, group.kind, list(group.gpus)) == (2, pb.ModelInstanceGroup.KIND_GPU, [0, 3])


def test_several_copies_share_what_waits() -> None:
    sizes = [
        configured(backend, **copies).max_batch_size
        for backend in ("python", "onnxruntime")
        for copies in ({}, {"instances": 2}, {"gpus": (0, 1)})
    ]
    assert sizes == [64, 4, 4, 8, 4, 4]


def test_queue() -> None:
    policy = configured(queue_size=7, queue_timeout=0.5).dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (7, 500_000)


def test_warmup_fits_every_version(tmp_path: Path) -> None:
    config = configured(warmup=True)
    stage_warmup(config, tmp_path)
    sizes = []
    for sample in config.model_warmup:
        segments = sample.inputs[_wire.SEGMENTS]
        content = np.fromfile(tmp_path / "warmup" / segments.input_data_file, dtype=np.int32).reshape(segments.dims)
        (tokens,) = sample.inputs[_wire.INPUT_IDS].dims
        assert (content[:, 0].sum(), content[:, 1].any()) == (tokens, False)
        sizes.append((len(content), tokens))
    assert sizes == [(1, 16), (1, 50), (4, 200)]


@pytest.mark.parametrize(
    "options",
    [{"instances": 0}, {"queue_size": 0}, {"queue_timeout": 0}, {"queue_timeout": float("inf")}, {"gpus": (1, 1)}],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=rf"{next(iter(options))} (is|are) .*Remedy"):
        Scheduling(**options)
