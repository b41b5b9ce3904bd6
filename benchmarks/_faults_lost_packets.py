"""Faults of the network: packets that are lost on the way, without a word to anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rewardserve import RewardClient

from benchmarks._faults_cases import TIMEOUT, and_then
from benchmarks._faults_models import FaultModels
from benchmarks._faults_network import Link
from benchmarks._faults_replica import Replica, in_mid_call
from benchmarks._faults_seen import Seen, Workload, seen

__all__ = ["LOST_PACKETS"]


def _half_open(link: Link, models: FaultModels, work: Workload) -> Seen:
    with _beyond(link, models) as replica, RewardClient(replica.url) as client:
        work.works(client)
        link.lose()
        found = work.short(client, TIMEOUT)
        link.heal()
        return and_then(found, client, work)


def _one_of_two_half_open(link: Link, models: FaultModels, work: Workload) -> Seen:
    with (
        _beyond(link, models) as replica,
        Replica(models.plain) as other,
        RewardClient([replica.url, other.url]) as client,
    ):
        with in_mid_call(other, link.lose):
            found = work.long(client, TIMEOUT)
        link.heal()
        return and_then(found, client, work)


def _no_way_there(link: Link, models: FaultModels, work: Workload) -> Seen:
    with _beyond(link, models) as replica:
        link.lose()
        found = seen(lambda: RewardClient(replica.url, timeout=TIMEOUT), work.rewards[:0])
        link.heal()
        return found


LOST_PACKETS: dict[str, Callable[[Link, FaultModels, Workload], Seen]] = {
    "half-open connection, the only server, timeout 60 s": _half_open,
    "half-open connection in mid-call, one of two": _one_of_two_half_open,
    "an address whose packets are lost, timeout 60 s": _no_way_there,
}


@contextmanager
def _beyond(link: Link, models: FaultModels) -> Iterator[Replica]:
    with link.entered():
        replica = Replica(models.plain, host=link.address)
    with replica:
        yield replica
