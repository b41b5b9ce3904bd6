"""Clients and processes: a fork is noticed, pickling connects anew."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest
from rewardserve import ForkedClientError, RewardClient
from rewardserve_server import TritonProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

TEXTS = ["a good answer", "a bad answer"]


def exit_code_of_fork(action: Callable[[], int]) -> int:
    """What a forked child makes of an action, or 99; it has 60 seconds."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = action()
        finally:
            os._exit(code)
    watchdog = threading.Timer(60, os.kill, (child, 9))
    watchdog.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        watchdog.cancel()


def test_a_client_made_before_the_fork_says_so(client: RewardClient) -> None:
    def use() -> int:
        for call in (lambda: client.score(TEXTS), lambda: client.score_tokens([[1]]), lambda: client.score_iter(TEXTS)):
            with pytest.raises(ForkedClientError, match=r"made in process \d+.*Remedy: make a client in each process"):
                call()
        return 0

    assert exit_code_of_fork(use) == 0
    assert client.score(TEXTS).shape == (2,), "the parent's goes on"


def test_a_client_made_behind_the_fork_works(server: TritonProcess, client: RewardClient) -> None:
    expected = client.score(TEXTS)

    def use() -> int:
        with RewardClient(server.grpc_url) as own:
            return int(not np.allclose(own.score(TEXTS), expected, atol=1e-5))

    assert exit_code_of_fork(use) == 0


def test_a_fork_under_load(server: TritonProcess, client: RewardClient) -> None:
    ended = threading.Event()

    def score() -> None:
        while not ended.is_set():
            client.score(TEXTS * 20)

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()

    def use() -> int:
        with RewardClient(server.grpc_url) as own:
            return int(own.score(TEXTS).shape != (2,))

    try:
        codes = [exit_code_of_fork(use) for _ in range(5)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 5


def score_in_spawned_process(client: RewardClient) -> list[float]:
    return [float(reward) for reward in client.score(TEXTS)]


def test_a_client_sent_to_another_process_connects_there(client: RewardClient) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rewards = pool.apply_async(score_in_spawned_process, (client,)).get(timeout=120)
    np.testing.assert_allclose(rewards, client.score(TEXTS), atol=1e-5)


def test_a_copy_by_pickle_keeps_the_arguments(server: TritonProcess) -> None:
    with (
        RewardClient(server.grpc_url, timeout=17, headers={"x-run": "7"}) as client,
        pickle.loads(pickle.dumps(client)) as copied,
    ):
        assert copied._options == client._options
        assert copied.score(TEXTS).shape == (2,)
