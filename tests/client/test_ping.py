from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rewardserve import AsyncRewardClient, RewardClient, ServerError, ServerUnavailableError
from rewardserve_server import ServeOptions, TritonProcess


def test_a_server_that_answers(client: RewardClient, server: TritonProcess) -> None:
    client.ping()

    async def ping() -> str:
        async with AsyncRewardClient(server.grpc_url) as asynchronous:
            await asynchronous.ping(timeout=10)
            return asynchronous.model

    assert asyncio.run(ping()) == client.model == "reward"


@pytest.mark.usefixtures("exported")
def test_a_server_that_is_gone(repository: Path) -> None:
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as server:
        server.wait_until_ready()
        client = RewardClient(server.grpc_url)
    with client, pytest.raises(ServerUnavailableError, match="Remedy"):
        client.ping(timeout=10)
    with pytest.raises(ServerError, match="closed"):
        client.ping()
