"""One call's requests and answers: what to send when, and what a failure means. No I/O, no clock, no threads.

The synchronous and the asynchronous exchange are loops around it: they send what `next` gives, and tell it what came
back.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic

from rewardserve._answers import Answers, Result
from rewardserve._errors import DeadlineExceededError, RewardIntegrityError, ServerError
from rewardserve._packing import PackedRequest

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

__all__ = ["Attempt", "Transfer"]

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
"""Seconds before a request is sent again: doubled each time, and spread, so that many callers don't come at once."""

MISTAKEN_ANSWERS = 5
"""A server that gives a request so many answers to other ones isn't asked again; one that was stopped for a while, and
whose answers are mixed up, takes a few."""


class Attempt:
    """One request on its way to its answers, sent as often as that takes.

    Args:
        packed: What the request stands for.
        request: The message.
        started: When it is sent first.
        timeout: Seconds from then until it is given up.

    Attributes:
        packed: As given.
        request: As given.
        tries: How often it has failed.
        mistakes: How often of these it was given another request's answer.
        sent: When it was sent last.
    """

    def __init__(self, packed: PackedRequest, request: ModelInferRequest, *, started: float, timeout: float) -> None:
        self.packed = packed
        self.request = request
        self._started = started
        self._deadline = started + timeout
        self.tries = 0
        self.mistakes = 0
        self.sent = started
        self._last_failure: ServerError | None = None

    def remaining(self, now: float) -> float:
        """Seconds until it is given up; never 0, which gRPC takes for no deadline at all."""
        return max(self._deadline - now, 1e-6)

    def failed(self, error: ServerError, now: float) -> float | None:
        """When to send it again after a failure that passes; None if that would be too late."""
        self._last_failure = error
        self.mistakes += isinstance(error, RewardIntegrityError)
        remaining = self._deadline - now
        # At most half of what is left: a server that comes back just in time is found.
        delay = min(FIRST_DELAY * 2**self.tries, LONGEST_DELAY, remaining / 2) * random.uniform(0.5, 1)
        self.tries += 1
        return now + delay if remaining > FIRST_DELAY else None

    def given_up(self, error: ServerError, now: float) -> ServerError:
        """The error to raise in the end, which also says how often the request was sent.

        A deadline only cuts off what has failed for most of the time: then that is the error.

        Args:
            error: The last one.
            now: The time.
        """
        before, tries = self._last_failure, self.tries
        if before is None:
            return error
        history = ""
        if before is not error:
            tries += 1
            if isinstance(error, DeadlineExceededError):
                if now - self.sent < self.sent - self._started:
                    error = before
                else:
                    history = f"; before that: {before}"
        if tries > 1:
            error.args = (f"{error} (sent {tries} times in {now - self._started:.1f} s{history})",)
        return error


class Transfer(Generic[Result]):
    """The requests of one call.

    Args:
        requests: What to send, made when there is room for it.
        answers: Takes what comes back.
        timeout: Seconds that each request may take, however often it is sent.
        max_tokens_in_flight: Tokens of the requests that have no answer yet; one request is always let through.
    """

    def __init__(
        self,
        requests: Iterator[tuple[PackedRequest, ModelInferRequest]],
        answers: Answers[Result],
        *,
        timeout: float,
        max_tokens_in_flight: int,
    ) -> None:
        self._requests = requests
        # Made now: cutting the work into requests takes time, and happens where the caller wants it.
        self._next = next(requests, None)
        self._answers = answers
        self._timeout = timeout
        self._max_tokens = max_tokens_in_flight
        self._tokens = 0
        self._under_way = 0
        self._waiting: list[tuple[float, int, Attempt]] = []
        self._warned = False

    @property
    def finished(self) -> bool:
        """Whether nothing is under way, and nothing more to be sent."""
        if self._under_way:
            return False
        return self._answers.server_failed or not (self._next or self._waiting)

    def next(self, now: float) -> Attempt | None:
        """What to send now; None if nothing, until an answer comes or `wait` is over."""
        if self._answers.server_failed:
            return None
        if self._waiting:
            # While the server fails or is full, nothing new is sent: that would only be more to send again.
            if self._waiting[0][0] > now:
                return None
            self._under_way += 1
            attempt = heapq.heappop(self._waiting)[-1]
            attempt.sent = now
            return attempt
        if self._next is None:
            return None
        packed, request = self._next
        if self._under_way and self._tokens + packed.input_ids.size > self._max_tokens:
            return None
        self._next = next(self._requests, None)
        self._tokens += packed.input_ids.size
        self._under_way += 1
        return Attempt(packed, request, started=now, timeout=self._timeout)

    def wait(self, now: float) -> float | None:
        """Seconds until there is something to send again; None if only an answer changes anything."""
        if not self._waiting or self._answers.server_failed:
            return None
        return max(self._waiting[0][0] - now, 0)

    def answered(self, attempt: Attempt, response: ModelInferResponse, now: float) -> None:
        """Takes a request's answer; one about other tokens than those sent is asked for again."""
        error = self._answers.take(attempt.packed, response)
        if error is None:
            self._settle(attempt)
        else:
            self.failed(attempt, error, now)

    def failed(self, attempt: Attempt, error: ServerError, now: float) -> None:
        """Notes that a request has no answer: it is sent again where that may help, and in time."""
        again = attempt.failed(error, now) if error.retriable else None
        if attempt.mistakes >= MISTAKEN_ANSWERS:
            again = None
        if again is None:
            self._settle(attempt)
            self._answers.fail(attempt.given_up(error, now))
            return
        self._under_way -= 1
        heapq.heappush(self._waiting, (again, id(attempt), attempt))
        if not self._warned:
            self._warned = True
            logger = logging.getLogger("rewardserve")
            logger.warning("%s. Trying again, for %.0f s at most", error, attempt.remaining(now))

    def result(self) -> Result:
        """All answers, in the order of the input.

        Raises:
            ServerError: Some are missing; `.partial` holds the others.
        """
        return self._answers.result()

    def _settle(self, attempt: Attempt) -> None:
        self._under_way -= 1
        self._tokens -= attempt.packed.input_ids.size
