"""Servers that hang instead of ending: nobody closes their connections."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from rewardserve import RewardClient, ServerError, _channel
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from support.calls import LONG_CALL, in_mid_call


@pytest.fixture
def process(exported: ExportSummary, repository: Path) -> Iterator[TritonProcess]:
    """A server that a test may stop."""
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, where clients wait for tens of them."""
    times = {"grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 1000, "grpc.http2.ping_timeout_ms": 1000}
    assert times.keys() <= dict(_channel._OPTIONS).keys()
    monkeypatch.setattr(_channel, "_OPTIONS", [(name, times.get(name, value)) for name, value in _channel._OPTIONS])


@contextmanager
def resumed(process: TritonProcess) -> Iterator[None]:
    """In the end it goes on, or it couldn't be asked to end."""
    with ExitStack() as stack:
        stack.callback(os.kill, process.pid, signal.SIGCONT)
        yield


@pytest.mark.usefixtures("impatient")
def test_one_of_two_hangs(process: TritonProcess, client: RewardClient, server: TritonProcess) -> None:
    expected = client.score_tokens(LONG_CALL[:100])
    with RewardClient([process.grpc_url, server.grpc_url]) as both, resumed(process):
        stopping = in_mid_call(process.grpc_url, lambda: os.kill(process.pid, signal.SIGSTOP))
        np.testing.assert_allclose(both.score_tokens(LONG_CALL[:100], timeout=60), expected, atol=1e-5)
        stopping.join()


def test_the_only_one_hangs(process: TritonProcess, client: RewardClient) -> None:
    sequences = LONG_CALL[:2]
    with RewardClient(process.grpc_url) as own:
        with resumed(process):
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(ServerError) as raised:
                own.score_tokens(sequences, timeout=3)
            assert time.monotonic() - began < 10
            assert list(raised.value.missing) == [0, 1]
        np.testing.assert_allclose(own.score_tokens(sequences), client.score_tokens(sequences), atol=1e-5)
