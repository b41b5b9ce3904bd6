"""TLS and mutual TLS, as `serve` turns them on for gRPC."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from rewardserve import LaunchError
from rewardserve_server import ServeOptions, TritonProcess
from support.certificates import Certificates, Identity, channel_credentials, make_certificates
from tritonclient.grpc.service_pb2 import ModelReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def with_tls(repository: Path, free_ports: dict[str, Any], certificates: Certificates) -> Iterator[TritonProcess]:
    options = ServeOptions(
        repository=repository,
        tls_certificate=certificates.server.certificate,
        tls_key=certificates.server.key,
        **free_ports,
    )
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture(scope="module")
def with_mutual_tls(
    repository: Path, free_ports: dict[str, Any], certificates: Certificates
) -> Iterator[TritonProcess]:
    """Bound to all addresses: only those with a certificate get in."""
    options = ServeOptions(
        repository=repository,
        host="0.0.0.0",
        tls_certificate=certificates.server.certificate,
        tls_key=certificates.server.key,
        tls_client_ca=certificates.client.ca,
        **free_ports,
    )
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


def ask(url: str, credentials: grpc.ChannelCredentials | None, **options: str) -> str:
    """What gRPC says when it is asked whether the model is ready."""
    arguments = [(f"grpc.{name}", value) for name, value in options.items()]
    channel = (
        grpc.insecure_channel(url, arguments)
        if credentials is None
        else grpc.secure_channel(url, credentials, arguments)
    )
    with channel:
        try:
            answer = GRPCInferenceServiceStub(channel).ModelReady(ModelReadyRequest(name="double"), timeout=20)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return str(error.details())
    assert answer.ready
    return "ready"


def test_client_that_trusts_the_ca(with_tls: TritonProcess, certificates: Certificates) -> None:
    assert ask(with_tls.grpc_url, channel_credentials(certificates.server.ca)) == "ready"


def test_client_without_tls(with_tls: TritonProcess) -> None:
    assert ask(with_tls.grpc_url, None).endswith("Socket closed")


def test_client_that_trusts_another_ca(with_tls: TritonProcess, certificates: Certificates) -> None:
    refusal = ask(with_tls.grpc_url, channel_credentials(certificates.stranger.ca))
    assert "CERTIFICATE_VERIFY_FAILED" in refusal


def test_client_that_expects_another_name(with_tls: TritonProcess, certificates: Certificates) -> None:
    credentials = channel_credentials(certificates.server.ca)
    refusal = ask(with_tls.grpc_url, credentials, ssl_target_name_override="elsewhere.example.org")
    assert "Hostname Verification Check failed" in refusal


def test_tls_client_of_a_server_without_tls(server: TritonProcess, certificates: Certificates) -> None:
    assert "WRONG_VERSION_NUMBER" in ask(server.grpc_url, channel_credentials(certificates.server.ca))


def test_client_with_a_certificate(with_mutual_tls: TritonProcess, certificates: Certificates) -> None:
    credentials = channel_credentials(certificates.server.ca, certificates.client)
    assert ask(with_mutual_tls.grpc_url, credentials) == "ready"


def test_client_without_a_certificate(with_mutual_tls: TritonProcess, certificates: Certificates) -> None:
    refusal = ask(with_mutual_tls.grpc_url, channel_credentials(certificates.server.ca))
    assert refusal.endswith("Socket closed")


def test_client_with_a_certificate_of_another_ca(with_mutual_tls: TritonProcess, certificates: Certificates) -> None:
    credentials = channel_credentials(certificates.server.ca, certificates.stranger)
    assert ask(with_mutual_tls.grpc_url, credentials).endswith("Socket closed")


def test_http_stays_on_loopback(with_mutual_tls: TritonProcess, certificates: Certificates) -> None:
    credentials = channel_credentials(certificates.server.ca, certificates.client)
    # Whatever is bound to all addresses answers at this one, too.
    assert ask(with_mutual_tls.grpc_url.replace("127.0.0.1", "127.0.0.2"), credentials) == "ready"
    for url in (f"{with_mutual_tls.http_url}/v2/health/ready", with_mutual_tls.metrics_url):
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.status == 200
        port = int(url.split("/")[2].partition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_loopback_host_is_kept_for_http(certificates: Certificates) -> None:
    tls = {"tls_certificate": certificates.server.certificate, "tls_key": certificates.server.key}
    assert ServeOptions(repository=Path("r"), host="127.0.0.2", **tls).http_host == "127.0.0.2"
    assert ServeOptions(repository=Path("r"), host="10.0.0.1", **tls).http_host == "127.0.0.1"
    assert ServeOptions(repository=Path("r"), host="10.0.0.1").http_host == "10.0.0.1"


def encrypt(identity: Identity, target: Path) -> Path:
    key = serialization.load_pem_private_key(identity.key.read_bytes(), password=None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    target.write_bytes(pem)
    return target


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda made, empty: (empty / "none", made.server.key, None), "none can't be read: No such file.*Remedy"),
        (lambda made, empty: (made.server.certificate, empty, None), "can't be read: Is a directory"),
        (
            lambda made, empty: (made.server.certificate, made.client.key, None),
            "aren't a certificate and its key.*key values",
        ),
        (lambda made, empty: (made.server.key, made.server.key, None), "aren't a certificate and its key"),
        (lambda made, empty: (made.server.certificate, encrypt(made.server, empty / "key"), None), "key is encrypted"),
        (lambda made, empty: (made.server.certificate, made.server.key, empty / "none"), "none can't be read"),
        (lambda made, empty: (made.server.certificate, made.server.key, made.server.key), "holds no CA certificate"),
    ],
    ids=["missing", "directory", "another-key", "no-certificate", "encrypted", "missing-ca", "no-ca"],
)
def test_files_that_cannot_work_are_refused_before_the_start(
    repository: Path,
    free_ports: dict[str, Any],
    certificates: Certificates,
    tmp_path: Path,
    files: Callable[[Certificates, Path], tuple[Path, Path, Path | None]],
    message: str,
) -> None:
    certificate, key, client_ca = files(certificates, tmp_path)
    options = ServeOptions(
        repository=repository, tls_certificate=certificate, tls_key=key, tls_client_ca=client_ca, **free_ports
    )
    with pytest.raises(LaunchError, match=message):
        TritonProcess(options)
