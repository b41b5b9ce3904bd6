"""Ray Data: rewards as a column of a dataset.

    dataset.map_batches(
        RewardScorer,
        fn_constructor_kwargs={"url": "triton:8001", "text": "completion"},
        compute=ray.data.ActorPoolStrategy(size=4),
        batch_size=1024,
    )

Each actor has a client of its own. Nothing here imports Ray: it calls the class with batches of NumPy arrays, which is
its default format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardserve._client import RewardClient
from rewardserve._errors import InputError, RewardServeError

__all__ = ["RewardScorer"]

Batch = dict[str, npt.NDArray[Any]]

_SHOWN_CHARACTERS = 200
"""Of a row that can't be scored, in the error."""


class RewardScorer:
    """Adds a column of rewards to batches; for `ray.data.Dataset.map_batches`.

    What is scored is a column of whole texts, or a column of prompts and one of responses (as `score_pairs` takes
    them), or a column of conversations (as `score_chat` takes them).

    Args:
        url: `host:port` of the server's gRPC endpoint, or several replicas.
        text: Column of texts; `text` if no other column is named.
        prompt: Column of prompts; needs `response`.
        response: Column of responses; needs `prompt`.
        messages: Column of conversations. Datasets fill up the keys that a message lacks with None, so None stands for
            a missing key, but in `content`.
        output: Column to add.
        client_options: What else `RewardClient` takes: `model`, `timeout`, `tls`, …

    Raises:
        ValueError: The columns don't say what to score.
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "localhost:8001",
        *,
        text: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        output: str = "reward",
        **client_options: Any,
    ) -> None:
        self._columns = _columns(text, prompt, response, messages)
        self._output = output
        self._client = RewardClient(url, **client_options)

    def __call__(self, batch: Batch) -> Batch:
        """Scores one batch.

        Args:
            batch: Columns of n rows.

        Returns:
            The batch with the rewards, float32 [n], or [n, K] where the contract names K labels.

        Raises:
            RewardServeError: A column is missing, or the output's is there already.
            InputError: A row can't be scored; `.index` is its position in the batch, and the message shows the row.
            ServerError: Some rewards are missing; `.partial` holds the others.
        """
        if missing := [name for name in self._columns.values() if name not in batch]:
            raise RewardServeError(
                f"the batch has no column {missing[0]!r}, only {', '.join(map(repr, batch))}. Remedy: name another one"
            )
        if self._output in batch:
            raise RewardServeError(f"the batch has a column {self._output!r} already. Remedy: name another `output`")
        rows = {role: _lists(batch[name]) for role, name in self._columns.items()}
        try:
            rewards = self._score(rows)
        except InputError as error:
            row = {self._columns[role]: values[error.index] for role, values in rows.items()}
            message = str(error).removeprefix(f"item {error.index}: ")
            raise type(error)(error.index, f"{message}. The row: {_shortened(repr(row))}") from error
        if "messages" in rows:  # as Ray hands conversations out, it can't put them back but as pickled objects
            batch = {**batch, self._columns["messages"]: _objects(rows["messages"])}
        return {**batch, self._output: rewards}

    def _score(self, rows: dict[str, list[Any]]) -> npt.NDArray[np.float32]:
        if "messages" in rows:
            return self._client.score_chat(_without_none(rows["messages"]))
        if "prompt" in rows:
            return self._client.score_pairs(rows["prompt"], rows["response"])
        return self._client.score(rows["text"])


def _columns(text: str | None, prompt: str | None, response: str | None, messages: str | None) -> dict[str, str]:
    """The names of the columns to score, by what they hold.

    Raises:
        ValueError: They are too many, or half a pair.
    """
    given = {"text": text, "prompt": prompt, "response": response, "messages": messages}
    columns = {role: name for role, name in given.items() if name is not None} or {"text": "text"}
    if set(columns) not in ({"text"}, {"prompt", "response"}, {"messages"}):
        raise ValueError(
            f"columns are named for {' and '.join(columns)}. Remedy: name one for text, or for messages, or two: for "
            "prompt and response"
        )
    return columns


def _lists(value: Any) -> Any:
    """Lists in place of arrays, at all depths."""
    if isinstance(value, np.ndarray):
        return _lists(value.tolist())
    if isinstance(value, list):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _without_none(value: Any) -> Any:
    """Conversations without the keys that a message lacks."""
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None or key == "content"}
    return value


def _objects(rows: list[Any]) -> npt.NDArray[Any]:
    column = np.empty(len(rows), dtype=object)
    for index, row in enumerate(rows):  # at once, rows of equal length would become a second dimension
        column[index] = row
    return column


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
