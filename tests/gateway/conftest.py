"""A gateway in a process of its own, in front of the tests' tritonserver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rewardserve_server import TritonProcess

SCRIPT = Path(sys.executable).parent / "rewardserve"
TEXTS = [f"the reward of a {word} answer" for word in ("good", "bad", "higher", "the", "one", "that", "than", "is")] * 8


class Gateway:
    """`rewardserve gateway ARGUMENTS` on a free port.

    Attributes:
        lines: What it printed until it took calls.
        url: Where it listens.
    """

    def __init__(self, triton_url: str, *arguments: str, token: str | None = None) -> None:
        environment = {**os.environ, **({} if token is None else {"REWARDSERVE_GATEWAY_TOKEN": token})}
        command = [SCRIPT, "gateway", "--url", triton_url, "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not self.lines or not self.lines[-1].startswith("  curl"):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            self.lines.append(line.rstrip("\n"))
        self.url = next(line.split()[-1] for line in self.lines if "/get_reward" in line).removesuffix("/get_reward")
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A call with a JSON body, or with what `options` say."""
        return self.http.post(path, **({"json": body} if body is not None else {}), **options)

    def error(self, response: httpx.Response) -> tuple[int, str, str]:
        """The status, and the error's type and message."""
        error = response.json()["error"]
        assert error["code"] == response.status_code
        return response.status_code, error["type"], error["message"]

    def metric(self, name: str, **labels: str) -> float:
        """One number of /metrics, 0 if it isn't there."""
        inside = ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels.items()))
        start = f"rewardserve_gateway_{name}{{{inside}}} " if labels else f"rewardserve_gateway_{name} "
        found = [line for line in self.http.get("/metrics").text.splitlines() if line.startswith(start)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def stop(self) -> None:
        """Ends it in any way."""
        self.http.close()
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Gateway]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts gateways that are gone behind the test."""
    started: list[Gateway] = []

    def call(*arguments: Any, **options: Any) -> Gateway:
        started.append(Gateway(*arguments, **options))
        return started[-1]

    yield call
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="session")
def gateway(server: TritonProcess) -> Iterator[Gateway]:
    """One for all tests that leave it as it is."""
    gateway = Gateway(server.grpc_url)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [f"{index}: {text}" for index, text in enumerate(TEXTS)]
