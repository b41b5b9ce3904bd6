"""What goes wrong between client and server has a type, a cause and a remedy."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from rewardserve import (
    DeadlineExceededError,
    ModelNotFoundError,
    NotARewardModelError,
    RequestRejectedError,
    RewardClient,
    ServerError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from rewardserve_export import ExportSummary
from rewardserve_server import GRPC_ADMIN_HEADER, ServeOptions, TritonProcess
from support.calls import LONG_CALL, packed_request
from support.held import held, make_holdable, pending
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelQueuePolicy
from tritonclient.grpc.service_pb2 import RepositoryModelLoadRequest, RepositoryModelUnloadRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

ADMIN_KEY = "for-tests"


def options(repository: Path, *extra_args: str) -> ServeOptions:
    return ServeOptions(
        repository=repository, grpc_port=0, http_port=0, metrics_port=0, admin_key=ADMIN_KEY, extra_args=extra_args
    )


def copy_with_queue_policy(repository: Path, name: str, **policy: Any) -> None:
    """The model `reward` under another name; the policy holds for each of its queues."""
    shutil.copytree(repository / "reward", repository / name)
    file = repository / name / "config.pbtxt"
    config = text_format.Parse(file.read_text(), ModelConfig())
    config.name = name
    config.dynamic_batching.default_queue_policy.CopyFrom(ModelQueuePolicy(**policy))
    file.write_text(text_format.MessageToString(config))


@pytest.fixture(scope="module")
def own_repository(exported: ExportSummary, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("own") / "repository"
    shutil.copytree(repository, copied)
    copy_with_queue_policy(copied, "crowded", max_queue_size=1)
    make_holdable(copied / "crowded" / "1")
    copy_with_queue_policy(copied, "impatient", default_timeout_microseconds=1)
    return copied


@pytest.fixture(scope="module")
def own_server(own_repository: Path) -> Iterator[TritonProcess]:
    """With models that refuse, and a model that can be unloaded."""
    with TritonProcess(options(own_repository, "--model-control-mode=explicit", "--load-model=*")) as process:
        process.wait_until_ready()
        yield process


def test_no_server_there() -> None:
    with socket.socket() as taken:  # bound and never listening: nobody else takes the port either
        taken.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError, match=rf"{url}.*Remedy: check the address") as raised:
            RewardClient(url)
    assert raised.value.partial is None
    assert list(raised.value.missing) == []


def test_a_url_with_a_scheme(server: TritonProcess) -> None:
    with pytest.raises(ServerUnavailableError, match=r"Remedy: .* without http://"):
        RewardClient(f"http://{server.grpc_url}")


def test_a_server_that_isnt_triton() -> None:
    other = grpc.server(futures.ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        with pytest.raises(ServerUnavailableError, match=r"UNIMPLEMENTED.*isn't a Triton server.*Remedy"):
            RewardClient(f"127.0.0.1:{port}")
    finally:
        other.stop(None).wait()


def test_an_unknown_model(server: TritonProcess) -> None:
    with pytest.raises(ModelNotFoundError, match=r"model 'unheard-of': .*Remedy: check the model's name"):
        RewardClient(server.grpc_url, model="unheard-of")


def test_a_model_that_rewardserve_didnt_export(server: TritonProcess) -> None:
    with pytest.raises(NotARewardModelError, match=r"'reward_tokenizer' \(version 1\).*Remedy"):
        RewardClient(server.grpc_url, model="reward_tokenizer")


def test_a_closed_client(server: TritonProcess) -> None:
    with RewardClient(server.grpc_url) as client:
        assert client.score_tokens([[1]]).shape == (1,)
    client.close()
    with pytest.raises(ServerError, match=r"this client is closed .*Remedy: make a new RewardClient") as raised:
        client.score_tokens([[1], [2]])
    assert list(raised.value.missing) == [0, 1]


def test_a_deadline_that_cant_be_met(client: RewardClient) -> None:
    with pytest.raises(DeadlineExceededError, match="Remedy: raise the client's timeout") as raised:
        client.score_tokens(LONG_CALL[:2], timeout=1e-6)
    assert list(raised.value.missing) == [0, 1]


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeadlineExceededError, match="Remedy: raise the client's timeout"):
            RewardClient(url, timeout=0.2)


def test_a_full_queue_costs_time_and_no_reward(own_server: TritonProcess, client: RewardClient) -> None:
    with RewardClient(own_server.grpc_url, model="crowded") as crowding:
        assert np.array_equal(crowding.score_tokens(LONG_CALL[:100]), client.score_tokens(LONG_CALL[:100]))


def test_a_queue_that_stays_full(own_repository: Path, own_server: TritonProcess) -> None:
    crowded = own_repository / "crowded" / "1"
    request = packed_request([1], [(1, 0)])
    request.model_name = "crowded"
    with (
        RewardClient(own_server.grpc_url, model="crowded") as client,
        grpc.insecure_channel(own_server.grpc_url) as channel,
        held(crowded),
    ):
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        deadline = time.monotonic() + 30
        while not (pending(own_server, crowded) and pending(own_server, crowded)):
            infer.future(request, timeout=60)  # the first is computed, another waits
            time.sleep(0.3)
            assert time.monotonic() < deadline
        with pytest.raises(ServerOverloadedError, match=r"Exceeds maximum queue size.*Remedy: send less at once"):
            client.score_tokens(LONG_CALL[:3], timeout=1)


def test_a_request_that_waits_too_long_in_the_queue(own_server: TritonProcess) -> None:
    with (
        RewardClient(own_server.grpc_url, model="impatient") as client,
        pytest.raises(ServerOverloadedError, match=r"Request timeout expired.*Remedy: send less at once"),
    ):
        client.score_tokens(LONG_CALL, timeout=1)


def test_a_model_that_was_unloaded(own_server: TritonProcess) -> None:
    with (
        RewardClient(own_server.grpc_url, model="crowded") as client,
        grpc.insecure_channel(own_server.grpc_url) as channel,
    ):
        stub, admin = GRPCInferenceServiceStub(channel), ((GRPC_ADMIN_HEADER, ADMIN_KEY),)
        stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="crowded"), timeout=60, metadata=admin)
        with pytest.raises(ModelNotFoundError, match="Remedy: check the model's name"):
            client.score_tokens([[1]], timeout=0.5)
        with pytest.raises(ModelNotFoundError, match="Remedy: check the model's name"):
            RewardClient(own_server.grpc_url, model="crowded")
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(client.score_tokens, [[1]], timeout=120)
            stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="crowded"), timeout=60, metadata=admin)
            assert waiting.result().shape == (1,), "a model that is loaded again costs time"


def test_a_server_that_wants_credentials(exported: ExportSummary, repository: Path) -> None:
    with TritonProcess(options(repository, "--grpc-restricted-protocol=metadata:key=secret")) as process:
        process.wait_until_ready()
        with pytest.raises(RequestRejectedError, match="Remedy: pass the client the server's credentials"):
            RewardClient(process.grpc_url)
        with RewardClient(process.grpc_url, headers={"Triton-gRPC-Protocol-key": "secret"}) as client:
            assert client.score_tokens([[1]]).shape == (1,)
