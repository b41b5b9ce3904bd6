"""What is kept of a call that something interrupts: every reward that arrived."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardserve import (
    DeadlineExceededError,
    RequestRejectedError,
    RewardClient,
    ServerError,
    ServerUnavailableError,
)
from rewardserve_server import ServeOptions, TritonProcess
from support.calls import LONG_CALL, in_mid_call, random_sequences
from support.contracts import pretended


def assert_partial(error: ServerError, client: RewardClient) -> None:
    """Some arrived, some didn't; `.missing` are those that didn't, and what arrived is right."""
    assert error.partial is not None
    assert error.partial.shape == (len(LONG_CALL),)
    assert error.partial.dtype == np.float32
    assert list(error.missing) == np.flatnonzero(np.isnan(error.partial)).tolist()
    arrived = np.flatnonzero(~np.isnan(error.partial))
    assert 0 < arrived.size < len(LONG_CALL)
    checked = arrived[:5].tolist()
    assert np.array_equal(client.score_tokens([LONG_CALL[item] for item in checked]), error.partial[checked])


def spy_on_calls(client: RewardClient, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls that a client starts, as they are."""
    calls: list[Any] = []
    infer = client._session._connection.infer

    def infer_and_note(*arguments: Any) -> Any:
        calls.append(infer(*arguments))
        return calls[-1]

    monkeypatch.setattr(client._session._connection, "infer", infer_and_note)
    return calls


def test_after_a_missed_deadline_no_more_is_sent(client: RewardClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = spy_on_calls(client, monkeypatch)
    with pytest.raises(DeadlineExceededError) as raised:
        client.score_tokens(LONG_CALL, timeout=1e-6)
    assert len(sent) == 64 * client.contract.max_request_tokens // 512, "one sequence of 512 tokens a request"
    assert list(raised.value.missing) == list(range(len(LONG_CALL)))


def test_a_request_that_is_refused_costs_only_its_own_items(client: RewardClient) -> None:
    sequences = random_sequences(6, [200] * 300)
    expected = np.append(client.score_tokens(sequences), 0)
    client._session.contract = pretended(client.contract, vocab_size=1000)  # the check here lets 400 pass
    sequences[100][5] = 400
    sequences.append(sequences[100])
    with pytest.raises(
        RequestRejectedError, match=r"token \d+ is 400, outside the vocabulary of 400.*Remedy"
    ) as raised:
        client.score_tokens(sequences)
    error = raised.value
    assert len(error.missing) == 4, "three sequences of 200 tokens fill a request of 600"
    assert {100, 300} < set(error.missing), "equal ones are missing together"
    others = np.delete(np.arange(301), error.missing)
    assert error.partial is not None
    assert np.array_equal(error.partial[others], expected[others])


def test_closing_in_mid_call_keeps_what_arrived(server: TritonProcess, client: RewardClient) -> None:
    other = RewardClient(server.grpc_url)
    closing = in_mid_call(server.grpc_url, other.close)
    with pytest.raises(ServerError, match=r"closed.*Remedy") as raised:
        other.score_tokens(LONG_CALL)
    closing.join()
    assert_partial(raised.value, client)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts: where the tests run in the background, the shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_cancels_what_is_under_way(
    server: TritonProcess, client: RewardClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = spy_on_calls(client, monkeypatch)

    def interrupt() -> None:
        # A server as fast as the client leaves nothing under way: only right behind a sending something is.
        sent = len(calls)
        while len(calls) == sent:
            time.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = in_mid_call(server.grpc_url, interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.score_tokens(LONG_CALL)
    interrupting.join()
    assert 10 < len(calls) < len(LONG_CALL)
    assert all(call._future.done() for call in calls)
    assert any(call._future.cancelled() for call in calls)
    assert client.score_tokens([[1]]).shape == (1,), "the client goes on"


def test_killing_the_server_in_mid_call_keeps_what_arrived(repository: Path, client: RewardClient) -> None:
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        other = RewardClient(process.grpc_url)
        killing = in_mid_call(process.grpc_url, process.kill)
        with pytest.raises(ServerUnavailableError, match="Remedy: check the address") as raised:
            other.score_tokens(LONG_CALL, timeout=3)
        killing.join()
        assert_partial(raised.value, client)
        with pytest.raises(ServerUnavailableError):
            other.score_tokens([[1]], timeout=0.5)
