"""Texts in, rewards out, as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rewardserve._errors import RewardServeError

__all__ = ["STANDARD", "Reward", "Row", "count_rows", "encode_row", "open_rows", "read_texts"]

STANDARD = Path("-")
"""Standard input or output, where a file's name is asked for."""

_LONGEST_LINE = 64 << 20
"""Bytes; it is read whole."""

Reward = float | list[float]
"""One number, or one for each label."""


@dataclass(frozen=True)
class Row:
    """One text to score.

    Attributes:
        where: For messages: the file and line, or the argument.
        fields: The whole object; `text` is a string.
    """

    where: str
    fields: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What is scored."""
        return str(self.fields["text"])


@contextmanager
def open_rows(path: Path) -> Iterator[Iterator[Row]]:
    """Opens objects with a string `text`, one a line, read as they are asked for; empty lines are skipped.

    Args:
        path: `-` is standard input.

    Raises:
        RewardServeError: The file can't be read; from the iterator: a line is wrong, and named.
    """
    if path == STANDARD:
        yield _rows(sys.stdin.buffer, "standard input")
    else:
        with _open(path) as stream:
            yield _rows(stream, str(path))


def read_texts(path: Path) -> list[str]:
    """Reads all texts of a file.

    Raises:
        RewardServeError: It can't be read, or a line is wrong.
    """
    with open_rows(path) as rows:
        return [row.text for row in rows]


def count_rows(path: Path) -> int:
    """How many rows there are in a file, if they are all right.

    Raises:
        RewardServeError: It can't be read.
    """
    with _open(path) as stream:
        return sum(1 for line in _lines(stream) if line.strip())


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RewardServeError(f"{path} can't be read ({error}). Remedy: check the path") from error


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """One that is too long comes in parts, the first of them longer than allowed."""
    return iter(lambda: stream.readline(_LONGEST_LINE + 1), b"")


def _rows(stream: BinaryIO, source: str) -> Iterator[Row]:
    # A binary file's lines end at newlines only: in text, characters that JSON strings may hold would end them, too.
    for number, line in enumerate(_lines(stream), start=1):
        if len(line) > _LONGEST_LINE:
            raise RewardServeError(
                f"{source}, line {number}: has more than {_LONGEST_LINE:,} bytes. Remedy: one text a line"
            )
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if content.strip():
            yield _row(f"{source}, line {number}", content)


def _row(where: str, line: bytes) -> Row:
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise RewardServeError(f"{where}: not JSON in UTF-8 ({error}). Remedy: one object a line") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise RewardServeError(f"{where}: no object with a string `text`. Remedy: add the field")
    return Row(where, fields)


def encode_row(row: Row, reward: Reward, encoding: str = "utf-8") -> str:
    """The object with its `reward`, as one line, as readable as an encoding allows."""
    fields = {**row.fields, "reward": reward}
    line = json.dumps(fields, ensure_ascii=False) + "\n"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(fields) + "\n"
    return line
