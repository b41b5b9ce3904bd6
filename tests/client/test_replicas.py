"""Several servers of one model: work is spread, a dead one costs time, and none of its rewards."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from rewardserve import AsyncRewardClient, RewardClient, ServerUnavailableError
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from support.calls import LONG_CALL, in_mid_call, random_sequences, statistics
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub


def start(repository: Path, port: int = 0) -> TritonProcess:
    process = TritonProcess(ServeOptions(repository=repository, grpc_port=port, http_port=0, metrics_port=0))
    process.wait_until_ready()
    return process


def port_of(process: TritonProcess) -> int:
    return int(process.grpc_url.rpartition(":")[2])


def inferences(process: TritonProcess) -> Any:
    with grpc.insecure_channel(process.grpc_url) as channel:
        return statistics(GRPCInferenceServiceStub(channel)).inference_count


@pytest.fixture
def replicas(exported: ExportSummary, repository: Path) -> Iterator[list[TritonProcess]]:
    with ExitStack() as stack:
        processes = [start(repository) for _ in range(2)]
        yield processes
        for process in processes:
            stack.enter_context(process)


def test_work_is_spread_over_them(replicas: list[TritonProcess], client: RewardClient) -> None:
    before = [inferences(process) for process in replicas]
    sequences = random_sequences(8, [300] * 60)
    with RewardClient([process.grpc_url for process in replicas]) as both:
        np.testing.assert_allclose(both.score_tokens(sequences), client.score_tokens(sequences), atol=1e-5)
    shares = [inferences(process) - earlier for process, earlier in zip(replicas, before, strict=True)]
    assert min(shares) >= sum(shares) / 4


def test_one_that_is_killed_and_comes_back(
    replicas: list[TritonProcess], repository: Path, client: RewardClient
) -> None:
    expected = client.score_tokens(LONG_CALL[:150])
    with RewardClient([process.grpc_url for process in replicas]) as both:
        killing = in_mid_call(replicas[0].grpc_url, replicas[0].kill)
        np.testing.assert_allclose(both.score_tokens(LONG_CALL[:150]), expected, atol=1e-5)
        killing.join()
        replicas[0].wait()
        replicas[0] = start(repository, port_of(replicas[0]))
        deadline = time.monotonic() + 30
        while not inferences(replicas[0]):
            assert time.monotonic() < deadline, "it takes part again"
            np.testing.assert_allclose(both.score_tokens(LONG_CALL[:20]), expected[:20], atol=1e-5)


def test_the_only_server_restarts_within_the_timeout(
    exported: ExportSummary, repository: Path, client: RewardClient
) -> None:
    expected = client.score_tokens(LONG_CALL[:150])
    process = start(repository)
    restarted: list[TritonProcess] = []

    def restart() -> None:
        process.kill()
        process.wait()
        restarted.append(start(repository, port_of(process)))

    async def score() -> Any:
        async with AsyncRewardClient(process.grpc_url) as own:
            restarting = in_mid_call(process.grpc_url, restart)
            rewards = await own.score_tokens(LONG_CALL[:150])
            await asyncio.to_thread(restarting.join)
            return rewards

    try:
        np.testing.assert_allclose(asyncio.run(score()), expected, atol=1e-5)
    finally:
        for each in restarted:
            each.stop()


def test_a_name_with_several_addresses(server: TritonProcess, client: RewardClient) -> None:
    port = port_of(server)
    with RewardClient(f"dns:///localhost:{port}") as named, RewardClient([f"localhost:{port}"] * 2) as listed:
        for other in (named, listed):
            np.testing.assert_allclose(other.score_tokens([[1, 2]]), client.score_tokens([[1, 2]]), atol=1e-5)


def test_a_host_that_has_no_address(server: TritonProcess) -> None:
    with pytest.raises(ServerUnavailableError, match=r"no-such-host\.invalid.*Remedy: check the addresses"):
        RewardClient([server.grpc_url, "no-such-host.invalid:8001"])


def test_no_address() -> None:
    with pytest.raises(ValueError, match="no address"):
        RewardClient([])


def test_all_replicas_dead(replicas: list[TritonProcess]) -> None:
    with RewardClient([process.grpc_url for process in replicas]) as both:
        threads = [threading.Thread(target=process.kill) for process in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in replicas:
            process.wait()
        with pytest.raises(ServerUnavailableError, match="Remedy: check the address"):
            both.score_tokens([[1, 2]], timeout=2)
