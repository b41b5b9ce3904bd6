"""The load generator: threads that send the requests of a workload."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks._workloads import Workload

__all__ = ["Load", "Session", "drive"]


class Session(Protocol):
    """One client's connection to a server."""

    def score(self, sequences: Sequence[list[int]]) -> list[float]:
        """The rewards of one request's sequences."""

    def close(self) -> None:
        """Ends the connection."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One run of a workload.

    Attributes:
        seconds: From the first request to the last answer.
        request_seconds: Of each request.
        client_seconds: Processor time of this process meanwhile.
    """

    seconds: float
    request_seconds: tuple[float, ...]
    client_seconds: float


def drive(workload: Workload, connect: Callable[[], Session]) -> Load:
    """Sends a workload's requests from its clients, each with a session of its own.

    Raises:
        Exception: What the first failed request raised.
    """
    todo = iter(workload.requests)
    lock = threading.Lock()
    start = threading.Barrier(workload.clients + 1)
    spans: list[tuple[float, float]] = []
    errors: list[BaseException] = []

    def client() -> None:
        try:
            with contextlib.closing(connect()) as session:
                start.wait()
                send(session)
        except BaseException as error:  # told to the caller, which is another thread
            errors.append(error)
            start.abort()

    def send(session: Session) -> None:
        while not errors:
            with lock:
                request = next(todo, None)
            if request is None:
                return
            began = time.perf_counter()
            session.score(request)
            spans.append((began, time.perf_counter()))

    threads = [threading.Thread(target=client, daemon=True) for _ in range(workload.clients)]
    for thread in threads:
        thread.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        raise next(error for error in errors if not isinstance(error, threading.BrokenBarrierError)) from None
    used = time.process_time()
    for thread in threads:
        thread.join()
    used = time.process_time() - used
    if errors:
        raise errors[0]
    return Load(
        seconds=max(end for _, end in spans) - min(began for began, _ in spans),
        request_seconds=tuple(end - began for began, end in spans),
        client_seconds=used,
    )
