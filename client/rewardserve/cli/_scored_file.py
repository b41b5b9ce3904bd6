"""Files of scored rows that a later run can go on with.

Every line is written by itself, so whatever ends a run, the whole lines of the file are right, and at most the last one
is unfinished. Beside it lies the reward contract of the model that scored it: rewards of two models never end up in one
file. Which rows are done is read from the file itself, compared with the input line by line.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NoReturn

from rewardserve._contract import RewardContract
from rewardserve._errors import ContractError, RewardServeError
from rewardserve.cli._jsonl import Reward, Row, encode_row

__all__ = ["ScoredFile"]

_REMEDY = "Remedy: give another --output, or --overwrite to score all rows again"


class ScoredFile:
    """An output file, opened to be gone on with.

    Args:
        path: The file; `<path>.contract.json` is written beside it.
        stream: The file, opened to append without a buffer, and locked.
    """

    def __init__(self, path: Path, stream: FileIO) -> None:
        self._path = path
        self._stream = stream
        self._record = path.with_name(path.name + ".contract.json")

    @classmethod
    @contextmanager
    def open(cls, path: Path, contract: RewardContract, *, overwrite: bool) -> Iterator[ScoredFile]:
        """Opens a file for the rewards of one model.

        Args:
            path: A regular file, or one to be made.
            contract: The model's.
            overwrite: Whether to empty the file first.

        Raises:
            RewardServeError: The file can't be written, another process is writing it, or what it holds isn't known to
                be of this model: then it is left as it is.
        """
        try:
            stream = FileIO(path, "a+")
        except OSError as error:
            raise RewardServeError(f"{path} can't be written ({error}). Remedy: check the path") from error
        with stream:
            _lock(stream, path)
            file = cls(path, stream)
            if overwrite:
                stream.truncate(0)
            if os.fstat(stream.fileno()).st_size:
                file._check_contract(contract)
            else:
                file._write_contract(contract)
            yield file

    def resume(self, rows: Iterator[Row]) -> int:
        """Takes the rows that are done, and cuts off an unfinished line at the end.

        Args:
            rows: The input's, from the first; the next one is the first to score, afterwards.

        Returns:
            How many rows are done.

        Raises:
            RewardServeError: A line isn't what scoring these rows gives; the file is left as it is.
        """
        done = size = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                row = next(rows, None)
                if row is None or not _is_scored(line, row):
                    expected = f"{row.where}, with a reward" if row else f"of the input, which has {done} rows"
                    raise RewardServeError(f"{self._path}, line {done + 1} isn't {expected}. {_REMEDY}")
                done += 1
                size += len(line)
        if size < os.fstat(self._stream.fileno()).st_size:
            self._stream.truncate(size)
        return done

    def write(self, row: Row, reward: Reward) -> None:
        """Appends one line.

        Raises:
            RewardServeError: There is no room for it; the file ends with the line before.
        """
        line = memoryview(encode_row(row, reward).encode())
        size = os.fstat(self._stream.fileno()).st_size
        try:
            while line:
                line = line[self._stream.write(line) :]
        except OSError as error:
            self._stream.truncate(size)
            raise RewardServeError(
                f"{self._path} can't be written any further ({error}). Remedy: make room, then run the same command "
                "again: it goes on with the next row"
            ) from error

    def _check_contract(self, contract: RewardContract) -> None:
        try:
            recorded = RewardContract.from_json(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError, ContractError):
            self._refuse(f"there is no {self._record.name} beside it that says which model scored it")
        if recorded.identity != contract.identity:
            self._refuse(
                f"another model scored it (identity {recorded.identity}; the served one's {contract.identity})"
            )

    def _write_contract(self, contract: RewardContract) -> None:
        """Before the first line, and in one step: no reward is ever without it."""
        temporary = self._record.with_name(self._record.name + ".tmp")
        temporary.write_text(json.dumps(json.loads(contract.to_json()), indent=2) + "\n", encoding="utf-8")
        temporary.replace(self._record)

    def _refuse(self, why: str) -> NoReturn:
        raise RewardServeError(f"{self._path} can't be gone on with: {why}. {_REMEDY}")


def _lock(stream: FileIO, path: Path) -> None:
    """Two runs into one file would mix their lines; where a file system has no locks, nothing prevents it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RewardServeError(f"another process is writing {path}. Remedy: wait for it, or end it") from error
    except OSError:
        return


def _is_scored(line: bytes, row: Row) -> bool:
    """Whether a line is the one that is written for a row, whatever the reward."""
    with suppress(ValueError, TypeError, KeyError):
        return encode_row(row, json.loads(line)["reward"]).encode() == line
    return False
