"""TLS, mutual TLS, tokens and headers, against a real server that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from rewardserve import TLS, RewardClient, ServerUnavailableError
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from support.certificates import Certificates, Identity, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mutual_server(exported: ExportSummary, repository: Path, certificates: Certificates) -> Iterator[TritonProcess]:
    """Wants a certificate of its clients."""
    options = ServeOptions(
        repository=repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        tls_certificate=certificates.server.certificate,
        tls_key=certificates.server.key,
        tls_client_ca=certificates.client.ca,
    )
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


def tls_of(identity: Identity, ca: Path) -> TLS:
    return TLS(ca=ca, certificate=identity.certificate, key=identity.key)


def test_mutual_tls(mutual_server: TritonProcess, client: RewardClient, certificates: Certificates) -> None:
    expected = client.score_tokens([[1, 2, 3]])
    tls = tls_of(certificates.client, certificates.server.ca)
    for url in (mutual_server.grpc_url, [mutual_server.grpc_url] * 2):
        with RewardClient(url, tls=tls) as secure:
            np.testing.assert_allclose(secure.score_tokens([[1, 2, 3]]), expected, atol=1e-5)


def test_refused(mutual_server: TritonProcess, certificates: Certificates) -> None:
    ours = certificates.server.ca
    refused = {
        "a foreign authority": (tls_of(certificates.client, certificates.stranger.ca), "check the client's tls="),
        "no certificate": (TLS(ca=ours), "wants TLS or a client's certificate"),
        "a stranger's certificate": (tls_of(certificates.stranger, ours), "wants TLS or a client's certificate"),
        "another name": (replace(tls_of(certificates.client, ours), server_name="other"), "check the client's tls="),
        "no TLS": (None, "wants TLS or a client's certificate"),
    }
    for case, (tls, remedy) in refused.items():
        with pytest.raises(ServerUnavailableError, match=remedy):
            RewardClient(mutual_server.grpc_url, tls=tls, timeout=5)
            pytest.fail(case)


def test_tls_to_a_server_in_the_clear(server: TritonProcess, certificates: Certificates) -> None:
    with pytest.raises(ServerUnavailableError, match="whether the server speaks TLS at all"):
        RewardClient(server.grpc_url, tls=TLS(ca=certificates.server.ca), timeout=5)


def test_a_file_that_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pem"):
        RewardClient("127.0.0.1:1", tls=TLS(ca=tmp_path / "nothing.pem"))


def test_a_certificate_without_its_key() -> None:
    with pytest.raises(ValueError, match="belong together"):
        TLS(certificate="client.pem")


def test_the_name_on_the_servers_certificate(certificates: Certificates) -> None:
    """`server_name` stands for the host; the token and the headers arrive. A server of gRPC's own tells what it got."""
    received: list[dict[str, str]] = []

    class Note(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            received.append(dict(details.invocation_metadata))
            return continuation(details)

    pair = certificates.client.key.read_bytes(), certificates.client.certificate.read_bytes()
    other = grpc.server(futures.ThreadPoolExecutor(1), interceptors=[Note()])
    port = other.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    other.start()
    tls = TLS(ca=certificates.client.ca, server_name="trainer.example.org")
    try:
        with pytest.raises(ServerUnavailableError, match="isn't a Triton server"):
            RewardClient(f"127.0.0.1:{port}", tls=tls, token="s3cret", headers={"X-Run": "7"})
    finally:
        other.stop(None).wait()
    assert received[0]["authorization"] == "Bearer s3cret"
    assert received[0]["x-run"] == "7"


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"x": "é"}, {"ü": "x"}])
def test_headers_that_cant_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"header .* Remedy"):
        RewardClient("127.0.0.1:1", headers=headers)
