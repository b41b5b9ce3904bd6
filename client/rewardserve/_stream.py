"""A stream of texts, cut into windows that are scored like calls of their own, several at a time. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rewardserve._errors import InputError, ServerError

__all__ = ["WINDOWS_UNDER_WAY", "Outcome", "Window", "WindowCutter", "windows", "windows_of_async"]

WINDOWS_UNDER_WAY = 4
"""Windows scored at a time: the server goes on with the others while one ends."""

_TEXTS = 256
_CHARACTERS = 1 << 18
"""Of one window, unless one text has more. Prefixes are shared within a window."""

Reward = TypeVar("Reward")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Texts that follow each other in a stream.

    Attributes:
        start: Position of the first one.
        texts: At least one.
    """

    start: int
    texts: list[str]

    def before(self, error: InputError) -> Window:
        """The texts before the one that an error is about."""
        return Window(start=self.start, texts=self.texts[: error.index - self.start])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a window.

    Attributes:
        rewards: Of its first texts, in order [n] or [n, K]; of all if there is no error.
        error: To be raised behind them.
    """

    rewards: npt.NDArray[np.float32]
    error: InputError | ServerError | None = None

    @classmethod
    def of_failure(cls, window: Window, error: ServerError) -> Outcome:
        """The rewards up to the first one missing; what arrived behind it stays with the error."""
        if error.partial is None:  # the server failed before any was asked for
            return cls(rewards=np.empty(0, dtype=np.float32), error=error)
        first = min(error.missing)
        rewards = error.partial[:first]
        error.partial = error.partial[first:]
        error.start = window.start + first
        error.missing = [window.start + index for index in error.missing]
        return cls(rewards=rewards, error=error)

    def followed_by(self, error: InputError) -> Outcome:
        """The same with an error behind it, unless it has one already."""
        return Outcome(rewards=self.rewards, error=self.error or error)


class WindowCutter:
    """Gathers texts until they make a window."""

    def __init__(self) -> None:
        self._start = 0
        self._texts: list[str] = []
        self._characters = 0

    def add(self, text: str) -> Window | None:
        """Takes the next text; gives a window when one is full."""
        self._texts.append(text)
        self._characters += len(text) if isinstance(text, str) else 0  # what it is, is checked with the window
        if len(self._texts) < _TEXTS and self._characters < _CHARACTERS:
            return None
        return self.rest()

    def rest(self) -> Window | None:
        """What was gathered so far, if anything."""
        if not self._texts:
            return None
        window = Window(start=self._start, texts=self._texts)
        self._start += len(self._texts)
        self._texts, self._characters = [], 0
        return window


def windows(texts: Iterable[str]) -> Iterator[Window]:
    """Cuts a stream into windows, reading it only as far as they are asked for.

    Raises:
        TypeError: It is one string.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of texts, not one string. Remedy: pass [text]")
    cutter = WindowCutter()
    for text in texts:
        if (window := cutter.add(text)) is not None:
            yield window
    if (window := cutter.rest()) is not None:
        yield window


async def windows_of_async(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[Window]:
    """The same of a stream of either kind."""
    if not isinstance(texts, AsyncIterable):
        for window in windows(texts):
            yield window
        return
    cutter = WindowCutter()
    async for text in texts:
        if (full := cutter.add(text)) is not None:
            yield full
    if (last := cutter.rest()) is not None:
        yield last
