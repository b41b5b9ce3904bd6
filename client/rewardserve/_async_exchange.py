"""The asynchronous exchange: the same as the synchronous one, on any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial

from rewardserve._answers import Result
from rewardserve._connection import InferCall
from rewardserve._errors import ServerError
from rewardserve._exchange import Send
from rewardserve._transfer import Attempt, Transfer

__all__ = ["exchange"]


async def exchange(transfer: Transfer[Result], send: Send) -> Result:
    """Runs one transfer; cancelling it cancels what is under way.

    Raises:
        ServerError: Some answers are missing; `.partial` holds the others.
    """
    under_way: dict[Attempt, InferCall] = {}
    answered: asyncio.Queue[Attempt] = asyncio.Queue()
    tell = partial(_tell, asyncio.get_running_loop(), answered)
    try:
        while True:
            while (attempt := transfer.next(time.monotonic())) is not None:
                try:
                    call = send(attempt.request, attempt.remaining(time.monotonic()))
                except ServerError as error:
                    transfer.failed(attempt, error, time.monotonic())
                    break
                under_way[attempt] = call
                call.when_done(partial(tell, attempt))
            if transfer.finished:
                return transfer.result()
            try:
                async with asyncio.timeout(transfer.wait(time.monotonic())):
                    attempt = await answered.get()
            except TimeoutError:
                continue
            try:
                response = under_way.pop(attempt).result()
            except ServerError as error:
                transfer.failed(attempt, error, time.monotonic())
            else:
                transfer.answered(attempt, response, time.monotonic())
    finally:
        for call in under_way.values():
            call.cancel()


def _tell(loop: asyncio.AbstractEventLoop, answered: asyncio.Queue[Attempt], attempt: Attempt) -> None:
    """In a thread of gRPC's: an answer is there. The loop may have ended meanwhile."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(answered.put_nowait, attempt)
