"""Preference data: rows that say which answers are better than which."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rewardserve_evaluation._answers import Answer, Message, join_answer
from rewardserve_evaluation._errors import PreferencesError

__all__ = ["Preference", "read_preferences"]

_LONGEST_LINE = 64 << 20
"""Characters; it is read whole, and a compressed file may hold thousands for each of its bytes."""
_MOST_ANSWERS = 256
"""Of a row's chosen or rejected ones: each of these is compared, and trained, with each of those."""

_RowAnswer = str | list[Message]


@dataclass(frozen=True, kw_only=True)
class Preference:
    """One row: every chosen answer is better than every rejected one.

    Attributes:
        chosen: The better answers, at least one, each with its prompt.
        rejected: The worse answers, at least one, each with its prompt.
        subset: Name of the part of the data that the row belongs to.
        id: The row's own name; RewardBench 2 pairs the rows of its Ties subset by it.
        margin: How much better the chosen answers are, for a training that asks for as much; None where not said.
        line: Number of the row's line in its file, from 1.
    """

    chosen: tuple[Answer, ...]
    rejected: tuple[Answer, ...]
    subset: str | None = None
    id: str | None = None
    margin: float | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if not self.chosen or not self.rejected:
            raise ValueError("a preference needs at least one chosen and one rejected answer")


def read_preferences(path: str | os.PathLike[str], *, limit: int | None = None, chat: bool = False) -> list[Preference]:
    """Reads preference data: JSONL, one object a line, also compressed (`.gz`).

    Each object has `chosen` and `rejected`, and may have `prompt`, `subset`, `id`, `margin`; others are ignored. An
    answer is a text or a list of messages `{"role": …, "content": …}`, and either field may hold a list of such
    answers (RewardBench 2: one chosen and three rejected, several of both in its Ties subset). How a prompt joins its
    answers is `join_answer`'s business.

    Args:
        path: The file.
        limit: Read only that many rows, from the start.
        chat: Read a text prompt and its text answers as a conversation of a user and an assistant, as RewardBench does.

    Raises:
        PreferencesError: The file can't be read, or a row lacks something; the message names the line and the field.
    """
    path = Path(path)
    try:
        with _open(path) as stream:
            rows = (_Row(str(path), number, line, chat) for number, line in _lines(path, stream) if line.strip())
            preferences = [row.preference() for row in islice(rows, limit)]
    except UnicodeDecodeError as error:
        raise PreferencesError(str(path), f"isn't UTF-8 ({error}). Remedy: save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise PreferencesError(str(path), f"can't be read ({error}). Remedy: check the path and the file") from error
    if not preferences:
        raise PreferencesError(str(path), "holds no row. Remedy: one JSON object a line")
    return preferences


def _open(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")


def _lines(path: Path, stream: TextIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), ""), 1):
        if len(line) > _LONGEST_LINE:
            message = f"has more than {_LONGEST_LINE:,} characters. Remedy: one object a line"
            raise PreferencesError(str(path), message, line=number)
        yield number, line


class _Row:
    """One line of the file, checked field by field."""

    def __init__(self, source: str, line: int, text: str, chat: bool) -> None:
        self._source = source
        self._line = line
        self._chat = chat
        try:
            self._values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._error(None, f"not JSON ({error}). Remedy: one object a line") from error
        if not isinstance(self._values, dict):
            raise self._error(None, f"{_kind(self._values)}, not an object. Remedy: one object a line")

    def preference(self) -> Preference:
        prompt = self._prompt()
        return Preference(
            chosen=tuple(self._answers("chosen", prompt)),
            rejected=tuple(self._answers("rejected", prompt)),
            subset=self._label("subset"),
            id=self._label("id"),
            margin=self._number("margin"),
            line=self._line,
        )

    def _error(self, field: str | None, message: str) -> PreferencesError:
        return PreferencesError(self._source, message, line=self._line, field=field)

    def _prompt(self) -> _RowAnswer | None:
        prompt = self._values.get("prompt")
        return None if prompt is None else self._answer("prompt", prompt)

    def _answers(self, field: str, prompt: _RowAnswer | None) -> Iterator[Answer]:
        value = self._values.get(field)
        if value is None:
            raise self._error(field, "is missing. Remedy: a text, a list of messages, or a list of several of either")
        # A list of objects is one conversation; a list of texts or of lists is several answers.
        several = isinstance(value, list) and not any(isinstance(item, dict) for item in value)
        if several and not value:
            raise self._error(field, "is an empty list. Remedy: at least one answer")
        if several and len(value) > _MOST_ANSWERS:
            raise self._error(field, f"has {len(value):,} answers. Remedy: at most {_MOST_ANSWERS} a row")
        for item in value if several else [value]:
            try:
                answer = join_answer(prompt, self._answer(field, item), chat=self._chat)
            except ValueError as error:
                raise self._error(field, f"{error}. Remedy: add `prompt`, or score as plain text") from error
            if answer == "":
                raise self._error(field, "is empty. Remedy: leave the row out")
            yield answer

    def _answer(self, field: str, value: Any) -> _RowAnswer:
        if isinstance(value, str):
            return value
        if not isinstance(value, list) or not value:
            raise self._error(field, f"is {_kind(value)}. Remedy: a text, or a list of messages")
        for position, message in enumerate(value):
            if not isinstance(message, dict):
                raise self._error(
                    field, f"message {position} is {_kind(message)}. Remedy: an object with role and content"
                )
            for key in ("role", "content"):
                if not isinstance(message.get(key), str):
                    raise self._error(field, f"message {position} has no `{key}` that is text. Remedy: add it")
        return value

    def _label(self, field: str) -> str | None:
        value = self._values.get(field)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise self._error(field, f"is {_kind(value)}. Remedy: a text")

    def _number(self, field: str) -> float | None:
        value = self._values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            found = value if isinstance(value, float) else _kind(value)
            raise self._error(field, f"is {found}. Remedy: a finite number, or leave it out")
        return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {dict: "an object", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
