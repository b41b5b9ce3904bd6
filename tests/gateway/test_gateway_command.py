"""`rewardserve gateway`: what it prints, counts and refuses."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rewardserve import RewardClient
from rewardserve_server import TritonProcess

if TYPE_CHECKING:
    from conftest import Start

SCRIPT = Path(sys.executable).parent / "rewardserve"


def test_what_it_prints(start: Start, server: TritonProcess, client: RewardClient) -> None:
    gateway = start(server.grpc_url)
    assert gateway.lines[0] == f"ready: model reward at {server.grpc_url}"
    assert gateway.url.startswith("http://127.0.0.1:")
    command = shlex.split(gateway.lines[-1])
    assert command[0] == "curl"
    ended = subprocess.run([*command, "--silent"], capture_output=True, text=True, check=True)
    expected = client.score(["Is this text any good?"]).tolist()
    assert ended.stdout == f'{{"rewards":{expected},"scores":{expected},"extra_logs":{{}}}}'


def test_metrics(start: Start, server: TritonProcess, client: RewardClient, texts: list[str]) -> None:
    gateway = start(server.grpc_url)
    gateway.post("/get_reward", {"query": texts})
    gateway.post("/get_reward", {"query": texts[:1]})
    gateway.post("/get_reward", {"query": [""]})
    gateway.post("/classify", {"input": [1, 2, 3]})
    gateway.http.get("/somewhere")
    assert gateway.metric("requests_total", route="/get_reward", status="200") == 2
    assert gateway.metric("requests_total", route="/get_reward", status="422") == 1
    assert gateway.metric("requests_total", route="/classify", status="200") == 1
    assert gateway.metric("requests_total", route="other", status="404") == 1
    assert gateway.metric("request_seconds_count", route="/get_reward") == 3
    assert 0 < gateway.metric("request_seconds_sum", route="/get_reward") < 60
    assert gateway.metric("request_seconds_bucket", route="/get_reward", le="+Inf") == 3
    tokens = client.tokenize([*texts, texts[0]])
    assert gateway.metric("texts_total", route="/get_reward") == len(texts) + 1
    assert gateway.metric("tokens_total", route="/get_reward") == sum(map(len, tokens))
    assert gateway.metric("tokens_total", route="/classify") == 3
    assert gateway.metric("requests_in_flight") == 1  # the one that asks
    response = gateway.http.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "upstream_errors_total{" not in response.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "reward_tokenizer"], 1, "error: NotARewardModelError: "),
        (["--tokenizer", "missing.json"], 1, "missing.json"),
        (["--host", "localhost"], 2, "IPv4"),
        (["--port", "70000"], 2, "65535"),
        (["--token", "two words"], 2, "visible ASCII"),
        (["--timeout", "0"], 2, "timeout"),
        (["--max-body", "0"], 2, "max-body"),
    ],
)
def test_what_it_does_not_start_with(server: TritonProcess, arguments: list[str], code: int, message: str) -> None:
    command = [SCRIPT, "gateway", "--url", server.grpc_url, "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert message in ended.stderr


def test_a_port_in_use(server: TritonProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [SCRIPT, "gateway", "--url", server.grpc_url, "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"127.0.0.1:{port} can't be bound" in ended.stderr
    assert "Remedy" in ended.stderr


def test_a_stop_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [SCRIPT, "gateway", "--url", f"127.0.0.1:{silent.getsockname()[1]}", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        silent.settimeout(60)
        with silent.accept()[0]:
            process.terminate()
            out, _ = process.communicate(timeout=5)
    assert (process.returncode, out) == (-signal.SIGTERM, "")
