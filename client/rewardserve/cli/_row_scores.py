"""Rows in, rewards out: errors and warnings name rows as the user knows them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from rich.text import Text

from rewardserve._client import RewardClient
from rewardserve._errors import InputError, RewardServeError, ServerError, TruncationWarning
from rewardserve.cli._console import stderr
from rewardserve.cli._jsonl import Reward, Row

__all__ = ["score_batch", "score_rows"]

_BATCH = 256
"""Rows scored at once: enough to fill the server's batches, few enough to be done soon."""


def score_rows(client: RewardClient, rows: Iterable[Row]) -> Iterator[tuple[Row, Reward]]:
    """Scores rows, in order and in bounded memory; whatever fails, the rows before it come first.

    Raises:
        RewardServeError: A row can't be read or scored: it is named.
        ServerError: The server gave no reward.
    """
    failures: list[RewardServeError] = []
    readable = _until_failure(rows, failures)
    while batch := list(islice(readable, _BATCH)):
        try:
            rewards = _score(client, batch)
        except InputError as error:
            yield from zip(batch, _score(client, batch[: error.index]), strict=False)
            raise _named(error, batch) from error
        except ServerError as error:
            if error.partial is not None:
                yield from zip(batch[: min(error.missing)], error.partial.tolist(), strict=False)
            raise
        yield from zip(batch, rewards, strict=True)
    for failure in failures:
        raise failure


def score_batch(client: RewardClient, rows: Sequence[Row]) -> list[Reward]:
    """Scores a few rows in one call.

    Raises:
        RewardServeError: A row can't be scored: it is named.
        ServerError: Some rewards are missing; `.partial` holds the others.
    """
    try:
        return _score(client, rows)
    except InputError as error:
        raise _named(error, rows) from error


def _until_failure(rows: Iterable[Row], failures: list[RewardServeError]) -> Iterator[Row]:
    """The rows before one that can't be read; why it can't comes later, behind their rewards."""
    try:
        yield from rows
    except RewardServeError as error:
        failures.append(error)


def _score(client: RewardClient, rows: Sequence[Row]) -> list[Reward]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncationWarning)
        rewards: list[Reward] = client.score([row.text for row in rows]).tolist()
    for warning in caught:
        span = f"{rows[0].where} to {rows[-1].where}" if len(rows) > 1 else rows[0].where
        message = f" {warning.message} (counted from 0, of {span})"
        stderr().print(Text.assemble(("warning:", "yellow"), message))
    return rewards


def _named(error: InputError, rows: Sequence[Row]) -> RewardServeError:
    message = str(error).removeprefix(f"item {error.index}: ")
    return RewardServeError(f"{rows[error.index].where}: {message}")
