"""What callers are told when Triton isn't there, hangs, or comes back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from rewardserve import RewardClient
from rewardserve_server import ServeOptions, TritonProcess

if TYPE_CHECKING:
    from conftest import Gateway, Start

BODY = {"query": ["a text"]}


@contextlib.contextmanager
def paused(server: TritonProcess) -> Iterator[None]:
    """A server that keeps its connections and says nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("exported")
def test_triton_comes_dies_and_comes_back(start: Start, repository: Path) -> None:
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        url = server.grpc_url
    options = ServeOptions(repository=repository, grpc_port=int(url.rpartition(":")[2]), http_port=0, metrics_port=0)

    gateway = start(url)
    assert_down(gateway, gateway.http.get("/health"))
    assert_down(gateway, gateway.post("/get_reward", BODY))
    with TritonProcess(options) as server:
        server.wait_until_ready()
        wait_until(lambda: gateway.http.get("/health").status_code == 200)
        with RewardClient(url) as client:
            expected = client.score(["a text"]).tolist()
        impatient = start(url, "--timeout", "2")
        for each in (gateway, impatient):
            assert each.post("/get_reward", BODY).json()["rewards"] == expected
        server.kill()
        server.wait()
    assert_down(gateway, gateway.http.get("/health"))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(gateway.post, "/get_reward", BODY)
        # Sent again until the deadline, which may find it between two tries or in one.
        status, kind, message = impatient.error(impatient.post("/get_reward", BODY))
        assert (status, kind) in ((503, "ServerUnavailableError"), (504, "DeadlineExceededError"))
        assert "Remedy" in message
        assert impatient.metric("upstream_errors_total", type=kind) == 1
        with TritonProcess(options) as server:
            server.wait_until_ready()
            assert call.result().json()["rewards"] == expected
            assert gateway.http.get("/health").status_code == 200
    assert gateway.metric("upstream_errors_total", type="ServerUnavailableError") == 1


def assert_down(gateway: Gateway, response: httpx.Response) -> None:
    """503 with the reason."""
    status, kind, message = gateway.error(response)
    assert (status, kind) == (503, "ServerUnavailableError")
    assert "Remedy" in message
    assert response.headers["Retry-After"] == "1"


def test_a_server_that_hangs(start: Start, server: TritonProcess) -> None:
    gateway = start(server.grpc_url, "--timeout", "4", "--max-concurrent", "2")
    assert gateway.post("/get_reward", BODY).status_code == 200
    with paused(server), ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(gateway.post, "/get_reward", BODY) for _ in range(2)]
        wait_until(lambda: gateway.metric("requests_in_flight") == 3)
        turned_away = gateway.post("/get_reward", BODY)
        assert gateway.error(turned_away)[:2] == (503, "TooManyCalls")
        assert turned_away.headers["Retry-After"] == "1"
        for call in calls:
            status, kind, message = gateway.error(call.result())
            assert (status, kind) == (504, "DeadlineExceededError")
            assert "Remedy" in message
        assert gateway.error(gateway.http.get("/health"))[:2] == (503, "DeadlineExceededError")
    wait_until(lambda: gateway.post("/get_reward", BODY).status_code == 200)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_calls_under_way_are_finished(start: Start, server: TritonProcess, signum: int) -> None:
    gateway = start(server.grpc_url)
    expected = gateway.post("/get_reward", BODY).json()
    with ThreadPoolExecutor(1) as threads:
        with paused(server):
            call = threads.submit(gateway.post, "/get_reward", BODY)
            wait_until(lambda: gateway.metric("requests_in_flight") == 2)
            gateway.process.send_signal(signum)
            wait_until(lambda: not is_listening(gateway.url))
        assert call.result().json() == expected
    out, err = gateway.process.communicate(timeout=30)
    assert (gateway.process.returncode, out, err) == (0, "", "")


def is_listening(url: str) -> bool:
    try:
        httpx.get(f"{url}/openapi.json", timeout=5)
    except httpx.TransportError:
        return False
    return True


def test_a_model_that_is_not_there(start: Start, server: TritonProcess) -> None:
    gateway = start(server.grpc_url, "--model", "missing")
    assert gateway.process.stderr is not None
    assert re.match("warning: .*'missing'.* Calls are answered with 503 until", gateway.process.stderr.readline())
    for response in (gateway.http.get("/health"), gateway.post("/get_reward", BODY)):
        status, kind, message = gateway.error(response)
        assert (status, kind) == (503, "ModelNotFoundError")
        assert "missing" in message
