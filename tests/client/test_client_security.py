"""TLS, mutual TLS, tokens and headers, against a real server that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from rewardserve import TLS, RewardClient, ServerUnavailableError
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    trustme.CA().cert_pem.write_to_path(directory / "other-ca.pem")
    for name, host in (("server", "127.0.0.1"), ("client", "trainer"), ("elsewhere", "reward.example")):
        certificate = authority.issue_cert(host)
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
    return directory


@pytest.fixture(scope="module")
def mutual_server(exported: ExportSummary, repository: Path, certificates: Path) -> Iterator[TritonProcess]:
    """Wants a certificate of its clients."""
    arguments = (
        "--grpc-use-ssl=1",
        "--grpc-use-ssl-mutual=1",
        f"--grpc-server-cert={certificates / 'server.pem'}",
        f"--grpc-server-key={certificates / 'server.key'}",
        f"--grpc-root-cert={certificates / 'ca.pem'}",
    )
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0, extra_args=arguments)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


def mutual(certificates: Path, **changes: Any) -> TLS:
    given = {
        "ca": certificates / "ca.pem",
        "certificate": certificates / "client.pem",
        "key": certificates / "client.key",
    }
    return TLS(**(given | changes))


def test_mutual_tls(mutual_server: TritonProcess, client: RewardClient, certificates: Path) -> None:
    expected = client.score_tokens([[1, 2, 3]])
    for url in (mutual_server.grpc_url, [mutual_server.grpc_url] * 2):
        with RewardClient(url, tls=mutual(certificates)) as secure:
            np.testing.assert_allclose(secure.score_tokens([[1, 2, 3]]), expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"ca": "other-ca.pem"}, {"certificate": None, "key": None}], ids=["foreign authority", "no certificate"]
)
def test_refused(mutual_server: TritonProcess, certificates: Path, changes: dict[str, Any]) -> None:
    changes = {name: value and certificates / value for name, value in changes.items()}
    with pytest.raises(ServerUnavailableError, match="Remedy"):
        RewardClient(mutual_server.grpc_url, tls=mutual(certificates, **changes), timeout=5)


def test_another_name(mutual_server: TritonProcess, certificates: Path) -> None:
    tls = mutual(certificates, server_name="reward.example")
    with pytest.raises(ServerUnavailableError, match="Remedy"):
        RewardClient(mutual_server.grpc_url, tls=tls, timeout=5)


def test_in_the_clear_to_a_server_that_wants_tls(mutual_server: TritonProcess) -> None:
    with pytest.raises(ServerUnavailableError, match="Remedy"):
        RewardClient(mutual_server.grpc_url, timeout=5)


def test_tls_to_a_server_in_the_clear(server: TritonProcess, certificates: Path) -> None:
    with pytest.raises(ServerUnavailableError, match="Remedy"):
        RewardClient(server.grpc_url, tls=TLS(ca=certificates / "ca.pem"), timeout=5)


def test_a_file_that_isnt_there(certificates: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pem"):
        RewardClient("127.0.0.1:1", tls=TLS(ca=certificates / "nothing.pem"))


def test_a_certificate_without_its_key() -> None:
    with pytest.raises(ValueError, match="belong together"):
        TLS(certificate="client.pem")


def test_the_name_on_the_servers_certificate(certificates: Path) -> None:
    """`server_name` stands for the host; the token and the headers arrive. A server of gRPC's own tells what it got."""
    received: list[dict[str, str]] = []

    class Note(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            received.append(dict(details.invocation_metadata))
            return continuation(details)

    pair = (certificates / "elsewhere.key").read_bytes(), (certificates / "elsewhere.pem").read_bytes()
    other = grpc.server(futures.ThreadPoolExecutor(1), interceptors=[Note()])
    port = other.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    other.start()
    tls = TLS(ca=certificates / "ca.pem", server_name="reward.example")
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
