"""Which server a command asks, and how it is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rewardserve import RewardClient
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from support.certificates import make_certificates

if TYPE_CHECKING:
    from conftest import Run


def test_a_server_that_wants_certificates_and_a_header(
    run: Run, exported: ExportSummary, repository: Path, client: RewardClient, tmp_path: Path
) -> None:
    made = make_certificates(tmp_path)
    options = ServeOptions(
        repository=repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        tls_certificate=made.server.certificate,
        tls_key=made.server.key,
        tls_client_ca=made.client.ca,
        extra_args=("--grpc-restricted-protocol=inference,metadata,model-config:team=7",),
    )
    tls = ["--tls-ca", made.server.ca, "--tls-certificate", made.client.certificate, "--tls-key", made.client.key]
    with TritonProcess(options) as process:
        process.wait_until_ready()
        asking = ["score", "--url", process.grpc_url, "--url", process.grpc_url, "a text"]
        header = ["--header", "triton-grpc-protocol-team: 7"]
        scored = run(*asking, *tls, *header)
        assert scored.code == 0, scored.err
        assert json.loads(scored.out)["reward"] == pytest.approx(float(client.score(["a text"])[0]), abs=1e-5)
        without_header = run(*asking, *tls)
        assert without_header.code == 1
        assert "pass the client the server's credentials" in " ".join(without_header.err.split())
        without_tls = run(*asking, *header)
        assert without_tls.code == 1
        assert "check the client's tls=" in " ".join(without_tls.err.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tls-certificate", "client.pem"], "belong together"),
        (["--header", "no colon"], "must be NAME:VALUE"),
    ],
)
def test_options_that_dont_fit(run: Run, arguments: list[str], complaint: str) -> None:
    outcome = run("score", "a text", *arguments)
    assert outcome.code == 2
    assert complaint in " ".join(outcome.err.replace("│", " ").split())


def test_a_checkpoint_needs_no_server(run: Run, tmp_path: Path) -> None:
    outcome = run("evaluate", tmp_path / "pairs.jsonl", "--checkpoint", "somewhere", "--tls")
    assert outcome.code == 2
    assert "--checkpoint needs no server" in outcome.err
