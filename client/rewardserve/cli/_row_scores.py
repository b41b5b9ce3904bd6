"""Rows in, rewards out: errors name rows as the user knows them."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve._errors import InputError, RewardServeError, TruncationWarning
from rewardserve.cli._console import stderr
from rewardserve.cli._jsonl import Reward, Row

__all__ = ["score_batch", "score_rows", "truncation_told"]


def score_rows(client: RewardClient, rows: Iterable[Row]) -> Iterator[tuple[Row, Reward]]:
    """Scores rows, in order and in bounded memory; whatever fails, the rows before it come first.

    Raises:
        RewardServeError: A row can't be read or scored: it is named.
        ServerError: The server gave no reward.
    """
    waiting: deque[Row] = deque()
    unreadable: list[RewardServeError] = []

    def texts() -> Iterator[str]:
        try:
            for row in rows:
                waiting.append(row)
                yield row.text
        except RewardServeError as error:  # raised below, behind the rewards of the rows before it
            unreadable.append(error)

    try:
        for reward in client.score_iter(texts()):
            yield waiting.popleft(), reward.tolist()
    except InputError as error:
        raise _named(error, waiting[0]) from error
    for failure in unreadable:
        raise failure


def score_batch(client: RewardClient, rows: Sequence[Row]) -> list[Reward]:
    """Scores a few rows in one call.

    Raises:
        RewardServeError: A row can't be scored: it is named.
        ServerError: Some rewards are missing; `.partial` holds the others.
    """
    try:
        rewards: list[Reward] = client.score([row.text for row in rows]).tolist()
    except InputError as error:
        raise _named(error, rows[error.index]) from error
    return rewards


@contextmanager
def truncation_told() -> Iterator[None]:
    """Prints where texts were cut, as it happens: none of it is kept, however long the input."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TruncationWarning)
        show = warnings.showwarning

        def tell(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, TruncationWarning):
                where = f" {message} (counted from 0, the first row that this run scores)"
                stderr().print(Text.assemble(("warning:", "yellow"), where))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = tell
        yield


def _named(error: InputError, row: Row) -> RewardServeError:
    message = str(error).removeprefix(f"item {error.index}: ")
    return RewardServeError(f"{row.where}: {message}")
