"""A stream of texts: rewards in order, memory flat, and errors behind the rewards they don't concern."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from rewardserve import EmptyTextError, RewardClient, ServerError, TextTypeError
from rewardserve_server import TritonProcess

TEXTS = [f"text number {number} " + "and more " * (number % 7) for number in range(1800)]


def test_the_rewards_of_score_in_order(client: RewardClient) -> None:
    seen: list[int] = []
    rewards = list(client.score_iter(iter(TEXTS), progress=seen.append))
    np.testing.assert_allclose(rewards, client.score(TEXTS), rtol=0, atol=1e-5)
    assert all(reward.dtype == np.float32 for reward in rewards)
    assert seen == sorted(seen)
    assert seen[-1] == len(TEXTS)


def test_several_labels(kinds_url: str) -> None:
    with RewardClient(kinds_url, model="attributes") as client:
        rewards = list(client.score_iter(TEXTS[:300]))
        assert rewards[0].shape == (3,)
        np.testing.assert_allclose(rewards, client.score(TEXTS[:300]), rtol=0, atol=1e-5)


def test_nothing(client: RewardClient) -> None:
    assert list(client.score_iter([])) == []


def test_one_string_is_a_mistake(client: RewardClient) -> None:
    with pytest.raises(TypeError, match="not one string"):
        list(client.score_iter("text"))


def test_the_stream_is_read_as_far_as_it_is_needed(client: RewardClient) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"text {read}"

    stream = client.score_iter(texts())
    for _ in range(300):
        next(stream)
    assert read < 300 + 256 * 6
    threads = threading.active_count()
    stream.close()
    assert threading.active_count() < threads


@pytest.mark.parametrize(("bad", "kind"), [("", EmptyTextError), (7, TextTypeError)])
def test_a_text_that_cant_be_scored_stops_behind_those_before_it(
    client: RewardClient, bad: object, kind: type[Exception]
) -> None:
    texts: list[object] = list(TEXTS)
    texts[1201], texts[1205] = bad, ""
    rewards: list[float] = []
    with pytest.raises(kind, match="item 1201") as raised:
        rewards.extend(client.score_iter(texts))  # type: ignore[arg-type]
    assert raised.value.index == 1201  # type: ignore[attr-defined]
    np.testing.assert_allclose(rewards, client.score(TEXTS[:1201]), rtol=0, atol=1e-5)


def test_a_failure_comes_behind_the_rewards_before_it(server: TritonProcess, client: RewardClient) -> None:
    other = RewardClient(server.grpc_url)

    def texts() -> Iterator[str]:
        for number, text in enumerate(TEXTS):
            if number == 900:
                other.close()
            yield text

    rewards: list[float] = []
    with pytest.raises(ServerError, match=r"closed.*Remedy") as raised:
        for reward in other.score_iter(texts()):
            rewards.append(reward)
    error = raised.value
    np.testing.assert_allclose(rewards, client.score(TEXTS[: len(rewards)]), rtol=0, atol=1e-5)
    if error.partial is not None:
        assert error.start == len(rewards)
        missing = [error.start + index for index in np.flatnonzero(np.isnan(error.partial))]
        assert list(error.missing) == missing


def test_leaving_early_doesnt_wait_for_the_rest(client: RewardClient) -> None:
    stream = client.score_iter("long " * 90 + str(number) for number in range(5000))
    next(stream)
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 20, "the windows under way hold some minutes of work"
    assert client.score(["a"]).shape == (1,)
