"""Who may do what on a server as `serve` starts it, and how often clients may ping."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from rewardserve_server import GRPC_ADMIN_HEADER, HTTP_ADMIN_HEADER, ServeOptions, TritonProcess
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

KEY = "a-key.of_the~tests+/=="
THEIR_KEY = "their-key"
STOCK_PINGS = (
    "--grpc-keepalive-permit-without-calls=0",
    "--grpc-http2-min-recv-ping-interval-without-data=300000",
)
PING_SECONDS = 1.2


def infer_request() -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(model_name="double")
    request.inputs.add(name="x", datatype="FP32", shape=[2])
    request.raw_input_contents.append(np.array([1.0, 2.0], np.float32).tobytes())
    return request


OPEN_GRPC = {
    "ServerLive": messages.ServerLiveRequest(),
    "ServerReady": messages.ServerReadyRequest(),
    "ServerMetadata": messages.ServerMetadataRequest(),
    "ModelReady": messages.ModelReadyRequest(name="double"),
    "ModelMetadata": messages.ModelMetadataRequest(name="double"),
    "ModelConfig": messages.ModelConfigRequest(name="double"),
    "ModelStatistics": messages.ModelStatisticsRequest(name="double"),
    "ModelInfer": infer_request(),
}
OPEN_HTTP = ("v2", "v2/health/ready", "v2/models/double", "v2/models/double/config", "v2/models/double/stats")

# In an order that works: what is registered is unregistered.
CLOSED_GRPC = {
    "RepositoryIndex": messages.RepositoryIndexRequest(),
    "RepositoryModelLoad": messages.RepositoryModelLoadRequest(model_name="double"),
    "RepositoryModelUnload": messages.RepositoryModelUnloadRequest(model_name="spare"),
    "SystemSharedMemoryRegister": messages.SystemSharedMemoryRegisterRequest(name="region", byte_size=8),
    "SystemSharedMemoryStatus": messages.SystemSharedMemoryStatusRequest(),
    "SystemSharedMemoryUnregister": messages.SystemSharedMemoryUnregisterRequest(name="region"),
    "CudaSharedMemoryStatus": messages.CudaSharedMemoryStatusRequest(),
    "TraceSetting": messages.TraceSettingRequest(),
    "LogSettings": messages.LogSettingsRequest(),
}
CLOSED_HTTP: dict[str, dict[str, Any] | None] = {
    "v2/repository/index": {},
    "v2/repository/models/double/load": {},
    "v2/repository/models/spare/unload": {},
    "v2/systemsharedmemory/region/region/register": {"offset": 0, "byte_size": 8},
    "v2/systemsharedmemory/status": None,
    "v2/systemsharedmemory/region/region/unregister": {},
    "v2/cudasharedmemory/status": None,
    "v2/trace/setting": {"trace_rate": "1000"},
    "v2/logging": {"log_verbose_level": 0},
}


@pytest.fixture(scope="module")
def restricted(
    add_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, free_ports: dict[str, Any]
) -> Iterator[TritonProcess]:
    """A server with a known key, that loads and unloads models when it is told to."""
    repository = add_model(add_model(tmp_path_factory.mktemp("models"), "double"), "spare")
    explicit = ("--model-control-mode=explicit", "--load-model=*")
    options = ServeOptions(repository=repository, admin_key=KEY, extra_args=explicit, **free_ports)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture(scope="module")
def with_own_flags(repository: Path, free_ports: dict[str, Any]) -> Iterator[TritonProcess]:
    """A server whose user restricts protocols, and pings, by flags of their own."""
    flags = (
        f"--grpc-restricted-protocol=model-repository,inference:team={THEIR_KEY}",
        "--http-restricted-api",
        f"model-repository:team={THEIR_KEY}",
        *STOCK_PINGS,
    )
    with TritonProcess(ServeOptions(repository=repository, admin_key=KEY, extra_args=flags, **free_ports)) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def shared_memory() -> Iterator[SharedMemory]:
    region = SharedMemory(create=True, size=8)
    yield region
    region.close()
    region.unlink()


def call(server: TritonProcess, method: str, request: Any, headers: dict[str, str]) -> tuple[grpc.StatusCode, str]:
    """How a gRPC call ends: its status and the server's message."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        try:
            getattr(stub, method)(request, metadata=tuple(headers.items()), timeout=20)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def fetch(server: TritonProcess, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> tuple[int, str]:
    """How an HTTP request ends: its status and its body. GET without a body, else POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.http_url}/{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def grpc_refusal(header: str) -> tuple[grpc.StatusCode, str]:
    return grpc.StatusCode.UNAVAILABLE, f"This protocol is restricted, expecting header '{header}'"


def http_refusal(header: str) -> tuple[int, str]:
    return 403, json.dumps({"error": f"This API is restricted, expecting header '{header}'"}, separators=(",", ":"))


@pytest.mark.parametrize("method", OPEN_GRPC)
def test_what_a_reward_client_calls_is_open(restricted: TritonProcess, method: str) -> None:
    assert call(restricted, method, OPEN_GRPC[method], {}) == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize("path", OPEN_HTTP)
def test_what_http_clients_read_is_open(restricted: TritonProcess, path: str) -> None:
    assert fetch(restricted, path, None, {})[0] == 200


@pytest.mark.parametrize("method", CLOSED_GRPC)
@pytest.mark.parametrize("headers", [{}, {GRPC_ADMIN_HEADER: "wrong"}, {HTTP_ADMIN_HEADER: KEY}])
def test_administration_without_the_key_over_grpc(
    restricted: TritonProcess, method: str, headers: dict[str, str]
) -> None:
    assert call(restricted, method, CLOSED_GRPC[method], headers) == grpc_refusal(GRPC_ADMIN_HEADER)


@pytest.mark.parametrize("path", CLOSED_HTTP)
@pytest.mark.parametrize("headers", [{}, {HTTP_ADMIN_HEADER: "wrong"}, {GRPC_ADMIN_HEADER: KEY}])
def test_administration_without_the_key_over_http(
    restricted: TritonProcess, path: str, headers: dict[str, str]
) -> None:
    assert fetch(restricted, path, CLOSED_HTTP[path], headers) == http_refusal(HTTP_ADMIN_HEADER)


def test_administration_with_the_key_over_grpc(restricted: TritonProcess, shared_memory: SharedMemory) -> None:
    CLOSED_GRPC["SystemSharedMemoryRegister"].key = f"/{shared_memory.name}"
    ends = {
        method: call(restricted, method, request, {GRPC_ADMIN_HEADER: KEY}) for method, request in CLOSED_GRPC.items()
    }
    assert ends == dict.fromkeys(CLOSED_GRPC, (grpc.StatusCode.OK, ""))


def test_administration_with_the_key_over_http(restricted: TritonProcess, shared_memory: SharedMemory) -> None:
    bodies = {path: body and {**body} for path, body in CLOSED_HTTP.items()}
    bodies["v2/systemsharedmemory/region/region/register"] |= {"key": f"/{shared_memory.name}"}
    ends = {path: fetch(restricted, path, body, {HTTP_ADMIN_HEADER: KEY})[0] for path, body in bodies.items()}
    assert ends == dict.fromkeys(CLOSED_HTTP, 200)


def test_protocols_that_the_user_restricts_are_left_to_them(with_own_flags: TritonProcess) -> None:
    ours, theirs = {GRPC_ADMIN_HEADER: KEY}, {"triton-grpc-protocol-team": THEIR_KEY}
    index, logging = CLOSED_GRPC["RepositoryIndex"], CLOSED_GRPC["LogSettings"]
    fine = (grpc.StatusCode.OK, "")
    assert call(with_own_flags, "RepositoryIndex", index, ours) == grpc_refusal("triton-grpc-protocol-team")
    assert call(with_own_flags, "RepositoryIndex", index, theirs) == fine
    assert call(with_own_flags, "ModelInfer", infer_request(), {}) == grpc_refusal("triton-grpc-protocol-team")
    assert call(with_own_flags, "ModelInfer", infer_request(), theirs) == fine
    assert call(with_own_flags, "LogSettings", logging, theirs) == grpc_refusal(GRPC_ADMIN_HEADER)
    assert call(with_own_flags, "LogSettings", logging, ours) == fine
    assert fetch(with_own_flags, "v2/repository/index", {}, {HTTP_ADMIN_HEADER: KEY}) == http_refusal("team")
    assert fetch(with_own_flags, "v2/repository/index", {}, {"team": THEIR_KEY})[0] == 200
    assert fetch(with_own_flags, "v2/logging", None, {"team": THEIR_KEY}) == http_refusal(HTTP_ADMIN_HEADER)
    assert fetch(with_own_flags, "v2/logging", None, {HTTP_ADMIN_HEADER: KEY})[0] == 200


def test_by_default_there_is_a_key_that_nobody_knows(server: TritonProcess, repository: Path) -> None:
    index = CLOSED_GRPC["RepositoryIndex"]
    assert call(server, "RepositoryIndex", index, {}) == grpc_refusal(GRPC_ADMIN_HEADER)
    keys = {ServeOptions(repository=repository).admin_key for _ in range(3)}
    assert len(keys) == 3
    assert min(map(len, keys)) >= 32
    assert KEY not in repr(ServeOptions(repository=repository, admin_key=KEY))


def test_by_default_other_addresses_than_loopback_do_not_answer(server: TritonProcess) -> None:
    for url in (server.grpc_url, server.http_url, server.metrics_url):
        port = int(url.split("//")[-1].split("/")[0].partition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            # Whoever binds to all addresses answers here too.
            socket.create_connection(("127.0.0.2", port), timeout=5)


class PingingClients:
    """One client without a call, and one with a call that neither side sends anything in."""

    def __init__(self, server: TritonProcess) -> None:
        self._states: list[grpc.ChannelConnectivity] = []
        self._idle = self._open(server)
        self._idle.subscribe(self._states.append, try_to_connect=True)
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting = self._open(server)
        self._stream = GRPCInferenceServiceStub(self._waiting).ModelStreamInfer(
            iter(self._requests.get, None), metadata=(("triton-grpc-protocol-team", THEIR_KEY),)
        )

    def _open(self, server: TritonProcess) -> grpc.Channel:
        options = [
            ("grpc.keepalive_time_ms", int(PING_SECONDS * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Else channels with the same options share a connection.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        return grpc.insecure_channel(server.grpc_url, options)

    def lost(self) -> tuple[bool, str]:
        """Whether the idle client's connection was closed, and what became of the other's call."""
        connected = self._states.index(grpc.ChannelConnectivity.READY)
        closed = grpc.ChannelConnectivity.IDLE in self._states[connected:]
        return closed, "still open" if self._stream.is_active() else self._stream.details()

    def close(self) -> None:
        self._requests.put(None)
        self._idle.close()
        self._waiting.close()


def test_frequent_pings_are_welcome(server: TritonProcess, with_own_flags: TritonProcess) -> None:
    ours, stock = PingingClients(server), PingingClients(with_own_flags)
    with contextlib.closing(ours), contextlib.closing(stock):
        # By its defaults, Triton closes the connection at the third to fifth ping.
        time.sleep(6.5 * PING_SECONDS)
        assert ours.lost() == (False, "still open")
        assert stock.lost() == (True, "Too many pings")
