"""Versions are changed while a real server is under load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from rewardserve import ModelNotFoundError, ReleaseError, RewardClient
from rewardserve._manifest import MANIFEST
from rewardserve_export.repository import ModelDirectory, Versions, promote, prune, rollback
from rewardserve_server import GRPC_ADMIN_HEADER, ServerControl, TritonProcess
from support.calls import random_sequences
from support.releases import ADMIN_KEY
from tritonclient.grpc.service_pb2 import RepositoryModelUnloadRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

CLIENTS = 16


class Trainer(threading.Thread):
    """Scores the same sequences again and again, in new connections where it follows the default."""

    def __init__(self, url: str, version: str | None, stop: threading.Event) -> None:
        super().__init__()
        self.url, self.version, self.stop = url, version, stop
        self.calls: list[tuple[float, str, np.ndarray]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        sequences = random_sequences(7, [3, 20, 40])
        try:
            while not self.stop.is_set():
                with RewardClient(self.url, version=self.version, timeout=30) as client:
                    for _ in range(3):
                        began = time.monotonic()
                        self.calls.append((began, client.version, client.score_tokens(sequences)))
        except Exception as error:
            self.error = error


def serve_only(model: ModelDirectory, version: str) -> None:
    promote(model, version)
    prune(model)
    assert (Versions(model).default, Versions(model).served) == (version, {version})


def test_switch_under_load(release_repository: Path, start: Callable[[], TritonProcess]) -> None:
    """No error; a pinned trainer's rewards don't change; each reward is one version's; who connects later follows."""
    model = ModelDirectory(release_repository, "reward")
    serve_only(model, "1")
    server = start()
    stop = threading.Event()
    trainers = [Trainer(server.grpc_url, "1" if number % 2 else None, stop) for number in range(CLIENTS)]
    for trainer in trainers:
        trainer.start()
    with ServerControl(server.grpc_url, admin_key=ADMIN_KEY) as control:
        done = promote(model, "2", [control])
        switched = time.monotonic()
        counts = [len(trainer.calls) for trainer in trainers]
        deadline = switched + 60
        while any(len(t.calls) < n + 4 for t, n in zip(trainers, counts, strict=True)) and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        for trainer in trainers:
            trainer.join()
        assert (done.version, done.previous, done.served) == ("2", "1", ("1", "2"))
        assert [trainer.error for trainer in trainers if trainer.error] == []
        with RewardClient(server.grpc_url, version="1") as one, RewardClient(server.grpc_url) as two:
            assert (one.version, two.version) == ("1", "2")
            sequences = random_sequences(7, [3, 20, 40])
            expected = {"1": one.score_tokens(sequences), "2": two.score_tokens(sequences)}
        assert np.abs(expected["1"] - expected["2"]).min() > 1e-3
        for trainer in trainers:
            for _, version, rewards in trainer.calls:
                np.testing.assert_allclose(rewards, expected[version], atol=1e-5, rtol=0)
            assert {version for _, version, _ in trainer.calls} == ({"1"} if trainer.version else {"1", "2"})


def test_default_is_not_guessed_while_a_server_ends(
    release_repository: Path, start: Callable[[], TritonProcess]
) -> None:
    """It unloads its models in any order; without the one that knows the default, the highest would be taken."""
    promote(ModelDirectory(release_repository, "reward"), "1")
    server = start()
    metadata = ((GRPC_ADMIN_HEADER, ADMIN_KEY),)
    with grpc.insecure_channel(server.grpc_url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="reward_tokenizer"), metadata=metadata)
        with ServerControl(server.grpc_url, admin_key=ADMIN_KEY) as control:
            control.wait_until_unloaded("reward_tokenizer", "1", timeout=30)
    with pytest.raises(ModelNotFoundError, match="has no available versions"):
        RewardClient(server.grpc_url)
    with RewardClient(server.grpc_url, version="2") as client:
        assert client.version == "2"


def test_rollback_and_prune_on_a_running_server(release_repository: Path, start: Callable[[], TritonProcess]) -> None:
    model = ModelDirectory(release_repository, "reward")
    serve_only(model, "1")
    server = start()
    sequence = random_sequences(1, [9])
    with ServerControl(server.grpc_url, admin_key=ADMIN_KEY) as control, RewardClient(server.grpc_url) as first:
        promote(model, "2", [control])
        assert rollback(model, [control]).version == "1"
        with RewardClient(server.grpc_url) as client:
            assert (first.version, client.version) == ("1", "1")
        assert rollback(model, [control]).version == "2"
        with RewardClient(server.grpc_url) as second:
            assert second.version == "2"
            before = second.score_tokens(sequence)
            first.score_tokens(sequence)
            with pytest.raises(ReleaseError, match=r"version 1 on .* clients may use it"):
                prune(model, [control])
            first.score_tokens(sequence)
            done = prune(model, [control], keep=1, idle=0)
            assert (done.stopped, done.removed) == (("1",), ("1",))
            assert [each.version for each in control.loaded("reward")] == ["2"]
            np.testing.assert_array_equal(second.score_tokens(sequence), before)
        with pytest.raises(ModelNotFoundError, match="hasn't loaded version 1 of model 'reward', but 2"):
            RewardClient(server.grpc_url, version="1")
    assert sorted(path.name for path in model.path.iterdir()) == ["2", "config.pbtxt", "warmup"]
    assert sorted(path.name for path in model.text.iterdir()) == ["2", "config.pbtxt"]


def test_version_that_scores_otherwise_never_becomes_the_default(
    release_repository: Path, start: Callable[[], TritonProcess]
) -> None:
    """Nothing was ever promoted: 2, the highest, is served; 1 is loaded, found wrong, and unloaded."""
    model = ModelDirectory(release_repository, "reward")
    server = start()
    path = model.path / "1" / MANIFEST
    written = json.loads(path.read_text())
    written["probes"]["rewards"][0] += 1.0
    path.write_text(json.dumps(written))
    before = {file: file.read_bytes() for file in release_repository.glob("*/config.pbtxt")}
    with ServerControl(server.grpc_url, admin_key=ADMIN_KEY) as control:
        with pytest.raises(ReleaseError, match="from the manifest of version 1"):
            promote(model, "1", [control])
        control.wait_until_unloaded("reward", "1", timeout=30)
        assert [each.version for each in control.loaded("reward")] == ["2"]
    assert {file: file.read_bytes() for file in before} == before
    with RewardClient(server.grpc_url) as client:
        assert client.version == "2"


def test_servers_that_refuse(release_repository: Path, start: Callable[[], TritonProcess]) -> None:
    model = ModelDirectory(release_repository, "reward")
    server = start()
    with (
        ServerControl(server.grpc_url, admin_key="another") as control,
        pytest.raises(Exception, match="expecting header 'triton-grpc-protocol-admin-key'"),
    ):
        promote(model, "1", [control])
    assert Versions(model).default == "2"
