"""The synchronous exchange: a transfer's requests sent ahead of their answers, so that the server can merge them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic

from rewardserve._answers import Result
from rewardserve._errors import ServerError
from rewardserve._transfer import Attempt, Transfer

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    from rewardserve._connection import InferCall

__all__ = ["Exchange", "Send"]

Send = Callable[["ModelInferRequest", float], "InferCall"]
"""Sends a request, with the seconds it may take, and returns at once."""


class Exchange(Generic[Result]):
    """Runs one transfer.

    Args:
        transfer: What to send, and who takes what comes back.
        send: Sends one request.
    """

    def __init__(self, transfer: Transfer[Result], send: Send) -> None:
        self._transfer = transfer
        self._send = send
        self._under_way: dict[Attempt, InferCall] = {}
        self._interrupted = False
        # None wakes up the thread that waits for an answer.
        self._answered: SimpleQueue[Attempt | None] = SimpleQueue()

    def run(self) -> Result:
        """Sends everything, and waits for all answers.

        gRPC is kept out of the main thread: there, Ctrl-C could leave a lock of gRPC's taken, and the channel dead.

        Raises:
            ServerError: Some answers are missing; `.partial` holds the others.
        """
        if threading.current_thread() is not threading.main_thread():
            return self._run()
        outcome: SimpleQueue[Result | BaseException] = SimpleQueue()

        def run() -> None:
            try:
                outcome.put(self._run())
            except BaseException as error:
                outcome.put(error)

        thread = threading.Thread(target=run, name="rewardserve", daemon=True)
        try:
            thread.start()
            result = outcome.get()
        except BaseException:
            self.interrupt()
            if thread.is_alive():
                thread.join()
            raise
        if isinstance(result, BaseException):
            raise result
        return result

    def interrupt(self) -> None:
        """From another thread: no more is sent, and no answer waited for."""
        self._interrupted = True
        self._answered.put(None)

    def _run(self) -> Result:
        while not self._interrupted:
            self._send_what_is_due()
            if self._transfer.finished:
                break
            self._receive()
        for call in self._under_way.values():  # only after an interruption: nobody waits for these any more
            call.cancel()
        return self._transfer.result()

    def _send_what_is_due(self) -> None:
        while not self._interrupted and (attempt := self._transfer.next(time.monotonic())) is not None:
            try:
                call = self._send(attempt.request, attempt.remaining(time.monotonic()))
            except ServerError as error:
                self._transfer.failed(attempt, error, time.monotonic())
                return
            self._under_way[attempt] = call
            call.when_done(partial(self._answered.put, attempt))

    def _receive(self) -> None:
        try:
            attempt = self._answered.get(timeout=self._transfer.wait(time.monotonic()))
        except Empty:
            return
        if attempt is None:
            return
        try:
            response = self._under_way.pop(attempt).result()
        except ServerError as error:
            self._transfer.failed(attempt, error, time.monotonic())
        else:
            self._transfer.answered(attempt, response, time.monotonic())
