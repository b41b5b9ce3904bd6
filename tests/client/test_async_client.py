"""AsyncRewardClient is RewardClient: the same methods, the same rewards, the same errors, on any event loop."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from rewardserve import (
    AsyncRewardClient,
    ContractError,
    DeadlineExceededError,
    EmptyTextError,
    RewardClient,
    RewardServeError,
    ServerError,
    ServerUnavailableError,
)
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, TritonProcess
from support.calls import LONG_CALL, in_mid_call, random_sequences, statistics
from support.held import held, make_holdable, wait_for_pending
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

TEXTS = ["a good answer", "a bad answer", "the quick brown fox"] * 5
NOT_ASYNC = {"contract", "version", "score_iter"}


def public_names(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_the_clients_have_the_same_methods() -> None:
    assert public_names(AsyncRewardClient) == public_names(RewardClient) | {"connect"}
    for name in public_names(RewardClient) | {"__init__"}:
        ours, theirs = getattr(RewardClient, name), getattr(AsyncRewardClient, name)
        if isinstance(ours, property):
            assert isinstance(theirs, property)
            continue
        parameters = [inspect.signature(method).parameters for method in (ours, theirs)]
        assert list(parameters[0]) == list(parameters[1]), name
        for parameter in parameters[0].values():
            assert parameter.default == parameters[1][parameter.name].default, name
            assert parameter.kind == parameters[1][parameter.name].kind, name
        if name not in NOT_ASYNC | {"__init__"}:
            assert inspect.iscoroutinefunction(theirs), name


def test_the_same_rewards(server: TritonProcess, client: RewardClient) -> None:
    async def rewards() -> list[np.ndarray]:
        async with AsyncRewardClient(server.grpc_url) as other:
            assert other.contract == client.contract
            assert other.version == client.version
            return [
                await other.score(TEXTS),
                await other.score(TEXTS[:1]),
                await other.score_pairs(TEXTS, TEXTS),
                await other.score_tokens([[1, 2, 3], [4]]),
                np.concatenate(await other.tokenize(TEXTS)),
                await other.score([]),
            ]

    expected = [
        client.score(TEXTS),
        client.score(TEXTS[:1]),
        client.score_pairs(TEXTS, TEXTS),
        client.score_tokens([[1, 2, 3], [4]]),
        np.concatenate(client.tokenize(TEXTS)),
        client.score([]),
    ]
    for ours, theirs in zip(asyncio.run(rewards()), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_values(kinds_url: str) -> None:
    async def values() -> list[np.ndarray]:
        async with AsyncRewardClient(kinds_url, model="critic") as client:
            tokens = [ids.tolist() for ids in await client.tokenize(TEXTS[:3])]
            return [*await client.values(TEXTS[:3]), *await client.values_tokens(tokens)]

    with RewardClient(kinds_url, model="critic") as client:
        expected = client.values(TEXTS[:3]) * 2
    for ours, theirs in zip(asyncio.run(values()), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_no_values(server: TritonProcess) -> None:
    async def values() -> None:
        async with AsyncRewardClient(server.grpc_url) as client:
            await client.values(TEXTS)

    with pytest.raises(ContractError, match="--values"):
        asyncio.run(values())


def test_many_tasks_at_a_time(server: TritonProcess, client: RewardClient) -> None:
    sequences = random_sequences(11, [7, 30, 90, 200] * 50)

    async def rewards() -> list[np.ndarray]:
        async with AsyncRewardClient(server.grpc_url) as other:
            return await asyncio.gather(*(other.score_tokens([sequence]) for sequence in sequences))

    np.testing.assert_allclose(np.concatenate(asyncio.run(rewards())), client.score_tokens(sequences), atol=1e-5)


def test_several_event_loops(server: TritonProcess) -> None:
    other = AsyncRewardClient(server.grpc_url)
    rewards = [asyncio.run(other.score(TEXTS)) for _ in range(3)]
    asyncio.run(other.close())
    for reward in rewards[1:]:
        np.testing.assert_allclose(rewards[0], reward, atol=1e-5)


def test_after_an_error_it_goes_on(server: TritonProcess) -> None:
    async def run() -> None:
        async with AsyncRewardClient(server.grpc_url) as client:
            with pytest.raises(EmptyTextError) as bad:
                await client.score(["a", ""])
            assert bad.value.index == 1
            with pytest.raises(DeadlineExceededError) as late:
                await client.score_tokens(LONG_CALL[:3], timeout=1e-6)
            assert list(late.value.missing) == [0, 1, 2]
            assert (await client.score(["a"])).shape == (1,)

    asyncio.run(run())


def test_before_it_is_connected() -> None:
    with pytest.raises(RewardServeError, match=r"isn't connected yet.*Remedy"):
        _ = AsyncRewardClient("127.0.0.1:1").contract


def test_no_server_there() -> None:
    client = AsyncRewardClient("127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(ServerUnavailableError, match="Remedy: check the address"):
            asyncio.run(client.score(TEXTS))


@pytest.fixture(scope="module")
def holdable(exported: ExportSummary, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version's directory in a copy of the repository."""
    copied = shutil.copytree(repository, tmp_path_factory.mktemp("holdable") / "repository")
    version = copied / exported.path.relative_to(repository)
    make_holdable(version)
    return version


@pytest.fixture(scope="module")
def own_server(holdable: Path) -> Iterator[TritonProcess]:
    options = ServeOptions(repository=holdable.parents[1], grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        yield process


def test_cancelling_a_call_cancels_its_requests(own_server: TritonProcess, holdable: Path) -> None:
    def answered() -> int:
        with grpc.insecure_channel(own_server.grpc_url) as channel:
            return int(statistics(GRPCInferenceServiceStub(channel)).inference_count)

    async def run() -> int:
        async with AsyncRewardClient(own_server.grpc_url) as client:
            with held(holdable):
                call = asyncio.create_task(client.score_tokens(LONG_CALL))
                await asyncio.to_thread(wait_for_pending, own_server, holdable, more_than=5)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await asyncio.sleep(0.5)  # the server hears of it
            await client.score_tokens([[1]])
            return 64 * client.contract.max_request_tokens // 512

    before = answered()
    under_way = asyncio.run(run())
    assert answered() - before < under_way, "those that waited aren't computed"


def test_closing_in_mid_call_keeps_what_arrived(own_server: TritonProcess, holdable: Path) -> None:
    async def run() -> ServerError:
        client = AsyncRewardClient(own_server.grpc_url)
        await client.connect()
        with ExitStack() as stack:
            holding = in_mid_call(own_server.grpc_url, lambda: stack.enter_context(held(holdable)))
            call = asyncio.create_task(client.score_tokens(LONG_CALL))
            await asyncio.to_thread(holding.join)
            await client.close()
            with pytest.raises(ServerError, match=r"closed.*Remedy") as raised:
                await call
        with pytest.raises(ServerError, match=r"this client is closed.*Remedy"):
            await client.score_tokens([[1]])
        return raised.value

    error = asyncio.run(run())
    assert error.partial is not None
    assert 0 < len(error.missing) < len(LONG_CALL)
    assert list(error.missing) == np.flatnonzero(np.isnan(error.partial)).tolist()


def test_closed_before_it_connected() -> None:
    async def run() -> None:
        client = AsyncRewardClient("127.0.0.1:1")
        await client.close()
        with pytest.raises(ServerError, match=r"this client is closed.*Remedy"):
            await client.score(["a"])

    asyncio.run(run())


def test_pickled(server: TritonProcess, client: RewardClient) -> None:
    copied = pickle.loads(pickle.dumps(AsyncRewardClient(server.grpc_url, timeout=9)))
    np.testing.assert_allclose(asyncio.run(copied.score(TEXTS)), client.score(TEXTS), atol=1e-5)
    asyncio.run(copied.close())


def test_a_stream_of_either_kind(server: TritonProcess, client: RewardClient) -> None:
    texts = [f"text number {number}" for number in range(1500)]

    async def produce() -> AsyncIterator[str]:
        for text in texts:
            await asyncio.sleep(0)
            yield text

    async def run() -> tuple[list[float], list[float], list[int]]:
        seen: list[int] = []
        async with AsyncRewardClient(server.grpc_url) as other:
            return (
                [reward async for reward in other.score_iter(texts)],
                [reward async for reward in other.score_iter(produce(), progress=seen.append)],
                seen,
            )

    of_list, of_stream, seen = asyncio.run(run())
    expected = client.score(texts)
    np.testing.assert_allclose(of_list, expected, atol=1e-5)
    np.testing.assert_allclose(of_stream, expected, atol=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == len(texts)


def test_leaving_a_stream_early(server: TritonProcess) -> None:
    async def run() -> None:
        async with AsyncRewardClient(server.grpc_url) as client:
            stream = client.score_iter(f"text {number}" for number in range(10**9))
            first = await anext(stream)
            await stream.aclose()
            assert np.isfinite(first)
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
