from __future__ import annotations

import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rewardserve import TLS, RewardClient
from rewardserve_export import ExportSummary
from rewardserve_server import HTTP_ADMIN_HEADER
from support.certificates import make_certificates

if TYPE_CHECKING:
    from conftest import Run

FREE = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(script: Path) -> Iterator[Serve]:
    """`rewardserve serve` in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(repository: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [script, "serve", "--repository", repository, *FREE, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_endpoints(process: subprocess.Popen[str], last: str = "rewardserve") -> dict[str, str]:
    """Waits for the line that begins with `last`; what each line says by its first word."""
    assert process.stdout is not None
    found = {}
    for line in process.stdout:
        name, _, value = line.strip().partition(" ")
        found[name] = value.strip()
        if name == last:
            return found
    raise AssertionError(process.communicate())


@pytest.mark.usefixtures("exported")
def test_endpoints_then_sigterm(serve: Serve, run: Run, repository: Path) -> None:
    process = serve(repository)
    found = read_endpoints(process)
    assert found["ready"].endswith("): reward")
    assert found["HTTP"].startswith("http://127.0.0.1:")
    assert found["metrics"].endswith("/metrics")
    assert found["rewardserve"] == f"score --url {found['gRPC']} --model reward 'Is this text any good?'"

    scored = run("score", "--url", found["gRPC"], "a text")
    assert scored.code == 0

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def index_status(http_url: str, key: str) -> int:
    """How the server answers a request for its model repository's index."""
    request = urllib.request.Request(f"{http_url}/v2/repository/index", b"{}", {HTTP_ADMIN_HEADER: key})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.usefixtures("exported")
def test_administration_needs_the_printed_key(serve: Serve, repository: Path) -> None:
    found = read_endpoints(serve(repository))
    key, _, headers = found["admin"].partition(" ")
    assert headers == "(gRPC header triton-grpc-protocol-admin-key, HTTP header admin-key)"
    assert index_status(found["HTTP"], key) == 200
    assert index_status(found["HTTP"], key[:-1]) == 403


@pytest.mark.usefixtures("exported")
def test_tls_a_given_key_and_a_log(
    serve: Serve, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path)
    log = tmp_path / "server.log"
    monkeypatch.setenv("REWARDSERVE_ADMIN_KEY", "given-key")
    tls = (
        "--tls-certificate",
        made.server.certificate,
        "--tls-key",
        made.server.key,
        "--tls-client-ca",
        made.client.ca,
    )
    process = serve(repository, *map(str, tls), "--log-file", str(log))
    found = read_endpoints(process, last="admin")
    assert found["gRPC"].endswith(" (TLS)")
    assert found["admin"].startswith("as given (")
    assert index_status(found["HTTP"], "given-key") == 200
    assert "Started HTTPService" in log.read_text()
    secured = TLS(ca=made.server.ca, certificate=made.client.certificate, key=made.client.key)
    with RewardClient(found["gRPC"].removesuffix(" (TLS)"), tls=secured) as client:
        assert client.score(["a text"]).shape == (1,)


@pytest.mark.usefixtures("exported")
def test_options_for_tritonserver(serve: Serve, repository: Path) -> None:
    process = serve(repository, "--", "--log-verbose=1", "--log-info=true")
    pid = int(read_endpoints(process)["ready"].partition("pid ")[2].partition(")")[0])
    command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    assert command[-2:] == ["--log-verbose=1", "--log-info=true"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_wrong_repository(script: Path, tmp_path: Path) -> None:
    command = [script, "serve", "--repository", tmp_path / "missing", *FREE]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    message = f"error: LaunchError: the model repository {tmp_path}/missing doesn't exist. Remedy: rewardserve export\n"
    assert ended.stderr == message


def test_repository_without_a_model(run: Run, tmp_path: Path) -> None:
    outcome = run("serve", "--repository", tmp_path, *FREE)
    assert outcome.code == 1
    assert "holds no model" in outcome.err


@pytest.mark.usefixtures("exported")
def test_busy_port(run: Run, repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = run("serve", "--repository", repository, *FREE[2:], "--grpc-port", str(port))
    assert (outcome.code, outcome.out) == (1, "")
    assert f"127.0.0.1:{port} can't be bound" in outcome.err
    assert "Remedy" in outcome.err


@pytest.mark.usefixtures("exported")
def test_option_that_tritonserver_does_not_know(run: Run, repository: Path) -> None:
    outcome = run("serve", "--repository", repository, *FREE, "--", "--no-such-option")
    assert (outcome.code, outcome.out) == (1, "")
    assert "no-such-option" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grpc-port", "99999"], "65535"),
        (["--host", "localhost"], "IPv4"),
        (["--grpc-port", "8005", "--http-port", "8005"], "must differ"),
        (["--", "--grpc-port=9000"], "--grpc-port"),
        (["--tls-certificate", "server.pem"], "must be given together"),
        (["--admin-key", "two words"], "admin_key must consist of"),
    ],
)
def test_wrong_values_are_usage_errors(run: Run, repository: Path, arguments: list[str], message: str) -> None:
    outcome = run("serve", "--repository", repository, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_tritonserver_that_is_none(run: Run, exported: ExportSummary, repository: Path, tmp_path: Path) -> None:
    outcome = run("serve", "--repository", repository, *FREE, "--tritonserver", tmp_path / "[none]")
    assert outcome.code == 1
    assert f"{tmp_path}/[none] isn't an executable file" in outcome.err
