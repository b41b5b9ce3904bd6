"""Ray Data: rewards as a column of a dataset.

    dataset.map_batches(
        RewardScorer,
        fn_constructor_kwargs={"url": "triton:8001", "text": "completion"},
        compute=ray.data.ActorPoolStrategy(size=4),
        batch_size=1024,
    )

Each actor has a client of its own. Nothing here imports Ray: it calls the class with batches of NumPy arrays, which is
its default, or with Arrow tables (`batch_format="pyarrow"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rewardserve._client import RewardClient
from rewardserve._errors import InputError, RewardServeError

__all__ = ["RewardScorer"]

if TYPE_CHECKING:
    import pyarrow

Batch: TypeAlias = "dict[str, npt.NDArray[Any]] | pyarrow.Table"

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
        messages: Column of conversations; needs batches of Arrow. There a message, or one of its tool calls, has None
            for the keys that only others have, so None stands for a missing key.
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
            RewardServeError: A column is missing, the output's is there already, or conversations come as NumPy arrays.
            InputError: A row can't be scored; `.index` is its position in the batch, and the message shows the row.
            ServerError: Some rewards are missing; `.partial` holds the others.
        """
        names = list(batch) if isinstance(batch, dict) else batch.column_names
        if missing := [name for name in self._columns.values() if name not in names]:
            raise RewardServeError(
                f"the batch has no column {missing[0]!r}, only {', '.join(map(repr, names))}. Remedy: name another one"
            )
        if self._output in names:
            raise RewardServeError(f"the batch has a column {self._output!r} already. Remedy: name another `output`")
        if isinstance(batch, dict) and "messages" in self._columns:
            raise RewardServeError(
                "conversations come as NumPy arrays, in which whole numbers may have become others. Remedy: pass "
                'batch_format="pyarrow" to map_batches'
            )
        rows = {role: _values(batch, name) for role, name in self._columns.items()}
        try:
            rewards = self._score(rows)
        except InputError as error:
            row = {self._columns[role]: values[error.index] for role, values in rows.items()}
            message = str(error).removeprefix(f"item {error.index}: ")
            raise type(error)(error.index, f"{message}. The row: {_shortened(repr(row))}") from error
        return _with_column(batch, self._output, rewards)

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


def _values(batch: Batch, name: str) -> list[Any]:
    """A column's values as Python's own objects."""
    values: list[Any] = batch[name].tolist() if isinstance(batch, dict) else batch.column(name).to_pylist()
    return values


def _with_column(batch: Batch, name: str, rewards: npt.NDArray[np.float32]) -> Batch:
    if isinstance(batch, dict):
        return {**batch, name: rewards}
    import pyarrow

    column = pyarrow.array(rewards.ravel())
    if rewards.ndim == 2:
        column = pyarrow.FixedSizeListArray.from_arrays(column, rewards.shape[1])
    return batch.append_column(name, column)


def _without_none(value: Any) -> Any:
    """Conversations without the keys that Arrow's structs have, and these messages lack."""
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
