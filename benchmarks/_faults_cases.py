"""Faults of one server, or of one of two, each in front of a client that is in the middle of its work."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from rewardserve import RewardClient

from benchmarks._faults_models import POISON, FaultModels
from benchmarks._faults_replica import Replica, in_mid_call
from benchmarks._faults_seen import Seen, Workload, seen

__all__ = ["CASES", "TIMEOUT", "and_then"]

Case = Callable[[FaultModels, Workload], Seen]

TIMEOUT = 60.0
_SHORT_TIMEOUT = 5.0
_DOWN_SECONDS = 2.0
"""A server, or a model, is away for at least so long."""


def _queue_full_for_a_while(models: FaultModels, work: Workload) -> Seen:
    with _client(models.crowded) as (replica, client), _flooded(replica, work):
        return and_then(work.long(client, TIMEOUT), client, work)


def _queue_full_for_longer(models: FaultModels, work: Workload) -> Seen:
    with _client(models.crowded) as (replica, client):
        work.works(client)
        os.kill(replica.reward_stub(), signal.SIGSTOP)  # what computes hangs
        with _flooded(replica, work):
            time.sleep(1.0)
            found = work.short(client, _SHORT_TIMEOUT)
            replica.kill()
            replica.start()
        return and_then(found, client, work)


def _stopped(models: FaultModels, work: Workload) -> Seen:
    with _client(models.plain) as (replica, client):
        replica.pause()
        found = work.short(client, TIMEOUT)
        replica.resume()
        return and_then(found, client, work)


def _one_of_two_stopped(models: FaultModels, work: Workload) -> Seen:
    with _client(models.plain, models.plain) as (replica, client):
        with in_mid_call(replica, replica.pause):
            found = work.long(client, TIMEOUT)
        replica.resume()
        return and_then(found, client, work)


def _nan(models: FaultModels, work: Workload) -> Seen:
    texts = [*work.texts[:7], f"{work.texts[7]} {POISON}"]
    expected = np.append(work.rewards[:7], np.float32(np.nan))
    with _client(models.poisoned) as (_, client):
        found = work.score(client, texts, expected, TIMEOUT)
        return and_then(found, client, work)


def _other(between: bool, which: str) -> Case:
    def case(models: FaultModels, work: Workload) -> Seen:
        with _client(models.plain) as (replica, client):

            def exchange() -> None:
                replica.kill()
                replica.start(getattr(models, which))

            if between:
                exchange()
                found = work.short(client, TIMEOUT)
            else:
                with in_mid_call(replica, exchange):
                    found = work.long(client, TIMEOUT)
            replica.kill()
            replica.start()
            return and_then(found, client, work)

    return case


def _reloaded(models: FaultModels, work: Workload) -> Seen:
    with _client(models.plain, model_control="explicit") as (replica, client):
        with in_mid_call(replica, lambda: replica.reload(_DOWN_SECONDS)):
            found = work.long(client, TIMEOUT)
        return and_then(found, client, work)


def _restarted(end: Callable[[Replica], object]) -> Case:
    def case(models: FaultModels, work: Workload) -> Seen:
        with _client(models.plain) as (replica, client):

            def restart() -> None:
                end(replica)
                time.sleep(_DOWN_SECONDS)
                replica.start()

            with in_mid_call(replica, restart):
                found = work.long(client, TIMEOUT)
            return and_then(found, client, work)

    return case


def _gone(models: FaultModels, work: Workload) -> Seen:
    with _client(models.plain) as (replica, client):
        replica.kill()
        found = work.short(client, _SHORT_TIMEOUT)
        replica.start()
        return and_then(found, client, work)


def _stub_killed(models: FaultModels, work: Workload) -> Seen:
    with _client(models.plain) as (replica, client):

        def restart() -> None:
            os.kill(replica.reward_stub(), signal.SIGKILL)
            replica.wait_for_end()
            replica.start()

        with in_mid_call(replica, restart):
            found = work.long(client, TIMEOUT)
        return and_then(found, client, work)


def _nobody_listens(models: FaultModels, work: Workload) -> Seen:
    with socket.socket() as taken:  # bound, and never listening: nobody else takes the port either
        taken.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{taken.getsockname()[1]}"
        return seen(lambda: RewardClient(url, timeout=TIMEOUT), work.rewards[:0])


CASES: dict[str, Case] = {
    "queue full, for a while": _queue_full_for_a_while,
    "queue full, beyond the timeout of 5 s": _queue_full_for_longer,
    "SIGSTOP, the only server, timeout 60 s": _stopped,
    "SIGSTOP in mid-call, one of two": _one_of_two_stopped,
    "NaN for one of 8 texts": _nan,
    "restarted with another model": _other(True, "other_weights"),
    "restarted with another model, in mid-call": _other(False, "other_weights"),
    "restarted with another tokenizer": _other(True, "other_tokenizer"),
    "restarted with another tokenizer, in mid-call": _other(False, "other_tokenizer"),
    "model unloaded and loaded again, in mid-call": _reloaded,
    "SIGKILL and restart, in mid-call": _restarted(Replica.kill),
    "SIGTERM and restart, in mid-call": _restarted(Replica.terminate),
    "SIGKILL, no restart within the timeout of 5 s": _gone,
    "Python backend's process killed, server restarted, in mid-call": _stub_killed,
    "an address where nobody listens": _nobody_listens,
}


@contextmanager
def _client(
    *repositories: Path, model_control: Literal["none", "explicit"] = "none"
) -> Iterator[tuple[Replica, RewardClient]]:
    """The first of some servers, and a client of all."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(each, model_control=model_control)) for each in repositories]
        client = stack.enter_context(RewardClient([replica.url for replica in replicas]))
        yield replicas[0], client


@contextmanager
def _flooded(replica: Replica, work: Workload) -> Iterator[None]:
    """Meanwhile another client has the server score many texts."""
    with RewardClient(replica.url) as other:
        thread = threading.Thread(target=work.long, args=(other, TIMEOUT))
        thread.start()
        yield
        thread.join()


def and_then(found: Seen, client: RewardClient, work: Workload) -> Seen:
    """The server is well again: is the client?"""
    return dataclasses.replace(found, afterwards=work.works(client))
