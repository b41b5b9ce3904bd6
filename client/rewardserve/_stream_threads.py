"""A stream of texts, its windows scored in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardserve._errors import InputError, ServerError
from rewardserve._exchange import Exchange
from rewardserve._session import Session
from rewardserve._stream import WINDOWS_UNDER_WAY, Outcome, Window, windows

__all__ = ["score_stream"]


def score_stream(
    session: Session, texts: Iterable[str], timeout: float, progress: Callable[[int], None] | None
) -> Iterator[Any]:
    """Yields the rewards in order; see `RewardClient.score_iter`."""
    under_way: deque[tuple[_WindowCall, Future[Outcome]]] = deque()
    cut, more, done = windows(texts), True, 0
    with ThreadPoolExecutor(WINDOWS_UNDER_WAY, thread_name_prefix="rewardserve") as pool:
        try:
            while True:
                while more and len(under_way) < WINDOWS_UNDER_WAY:
                    if (window := next(cut, None)) is None:
                        more = False
                    else:
                        call = _WindowCall(session, timeout)
                        under_way.append((call, pool.submit(call.score, window)))
                if not under_way:
                    return
                outcome = under_way[0][1].result()
                under_way.popleft()
                done += len(outcome.rewards)
                if progress is not None:
                    progress(done)
                yield from outcome.rewards
                if outcome.error is not None:
                    raise outcome.error
        finally:
            for call, _ in under_way:
                call.interrupt()


class _WindowCall:
    """One window of a stream, scored in a thread."""

    def __init__(self, session: Session, timeout: float) -> None:
        self._session = session
        self._timeout = timeout
        self._exchange: Exchange[npt.NDArray[np.float32]] | None = None
        self._interrupted = False

    def score(self, window: Window) -> Outcome:
        """Scores as much of a window as can be."""
        try:
            sequences = self._session.encode(window.texts, self._timeout, start=window.start)
        except InputError as error:
            return self.score(window.before(error)).followed_by(error)
        self._exchange = Exchange(self._session.rewards(sequences, self._timeout), self._session.send)
        if self._interrupted:
            self._exchange.interrupt()
        try:
            return Outcome(rewards=self._exchange.run())
        except ServerError as error:
            return Outcome.of_failure(window, error)

    def interrupt(self) -> None:
        """From another thread: nobody waits for the rewards any more."""
        self._interrupted = True
        if self._exchange is not None:
            self._exchange.interrupt()
