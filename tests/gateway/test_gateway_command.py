"""`rewardserve gateway`: what it prints, counts and refuses."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardserve import RewardClient
from rewardserve_server import TritonProcess

if TYPE_CHECKING:
    from conftest import Start


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


def run(script_and_arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(script_and_arguments, capture_output=True, text=True, check=False, timeout=60)
