"""What several benchmarks need: the checkpoint, its export, texts."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks._models import Model

__all__ = ["BenchmarkError", "Settings", "Setup", "say"]

MODEL = "reward"
MAX_LENGTH = 8192
"""Tokens, of a sequence and of a request: room for the 4,096 of `attention-cost`."""
DATA_FILE = "preferences.jsonl.gz"
KEPT = Path(__file__).parent.parent / ".bench"
"""Models and what is made of them: too slow to make each time."""


class BenchmarkError(Exception):
    """Something that a benchmark needs is missing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured.

    Attributes:
        checkpoint: A `*ForSequenceClassification` checkpoint.
        data: Directory that holds `preferences.jsonl.gz`, or that file.
        repository: An export of that checkpoint under the name `reward`, to save time; None makes one.
        model: What servers are compared on: `peers-llama`, or `checkpoint`.
        servers: Patterns of the names of servers that take part.
        runs: Rounds in which servers take turns.
        plots: Directory for plots, or None.
        size: Of the model of `gpu`; None takes one that suits the machine.
        minutes: Of `soak`.
    """

    checkpoint: Path
    data: Path
    repository: Path | None
    model: str
    servers: tuple[str, ...]
    runs: int
    plots: Path | None
    size: str | None
    minutes: float


class Setup:
    """Makes, once, what the benchmarks ask for.

    Args:
        settings: What is measured.
        scratch: An empty directory.
    """

    def __init__(self, settings: Settings, scratch: Path) -> None:
        self._settings = settings
        self._scratch = scratch

    @classmethod
    @contextmanager
    def made(cls, settings: Settings) -> Iterator[Setup]:
        """A setup whose files are removed in the end."""
        with tempfile.TemporaryDirectory(prefix="rewardserve-benchmarks-") as scratch:
            yield cls(settings, Path(scratch))

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint's directory."""
        path = self._settings.checkpoint
        if not (path / "config.json").is_file():
            raise BenchmarkError(f"{path} holds no checkpoint. Remedy: `make demo` makes one, or --checkpoint DIR")
        return path

    @cached_property
    def model(self) -> Model:
        """What servers are compared on; what is made of it is kept for the next time."""
        from benchmarks._models import PEERS_LLAMA, Model, save_peers_llama

        if self._settings.model != PEERS_LLAMA:
            return self.checkpoint_model
        return Model(name=PEERS_LLAMA, directory=save_peers_llama(KEPT / PEERS_LLAMA), word_tokens=True)

    @cached_property
    def checkpoint_model(self) -> Model:
        """The checkpoint, kept where what is made of it stays, too."""
        from benchmarks._models import Model

        # Beside the original, `make demo` would delete it with the rest of its output.
        digest = hashlib.sha256()
        for file in sorted(self.checkpoint.glob("*.safetensors")):
            digest.update(file.read_bytes())
        directory = KEPT / digest.hexdigest()[:12]
        shutil.copytree(self.checkpoint, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
        return Model(name=self.checkpoint.name, directory=directory, word_tokens=False)

    def takes_part(self, server: str) -> bool:
        """Whether a server was asked for."""
        return any(fnmatch(server, pattern) for pattern in self._settings.servers)

    @property
    def runs(self) -> int:
        """Rounds in which servers take turns."""
        return self._settings.runs

    @property
    def plots(self) -> Path | None:
        """Directory for plots."""
        return self._settings.plots

    @property
    def size(self) -> str | None:
        """Size of the model of `gpu`, or None for one that suits the machine."""
        return self._settings.size

    @property
    def minutes(self) -> float:
        """How long `soak` takes."""
        return self._settings.minutes

    @cached_property
    def repository(self) -> Path:
        """A model repository with the checkpoint's export."""
        if self._settings.repository is not None:
            return self._settings.repository
        from rewardserve_export import ExportOptions, export, inspect_checkpoint

        positions = inspect_checkpoint(self.checkpoint).max_position_embeddings or MAX_LENGTH
        options = ExportOptions(
            repository=self._scratch / "repository",
            name=MODEL,
            max_length=min(positions, MAX_LENGTH),
            max_request_tokens=MAX_LENGTH,
        )
        say(f"exporting {self.checkpoint}")
        export(self.checkpoint, options)
        return options.repository

    @cached_property
    def version(self) -> Path:
        """Directory of the newest exported version."""
        from benchmarks._graphs import newest_version

        return newest_version(self.repository)

    @cached_property
    def contract(self) -> dict[str, Any]:
        """The exported reward contract."""
        contract: dict[str, Any] = json.loads((self.version / "contract.json").read_text())
        return contract

    @cached_property
    def data_file(self) -> Path:
        """Gzipped JSON lines with `chosen` and `rejected`."""
        path = self._settings.data
        file = path / DATA_FILE if path.is_dir() else path
        if not file.is_file():
            raise BenchmarkError(
                f"{file} doesn't exist. Remedy: --data FILE, gzipped JSON lines with `chosen` and `rejected`"
            )
        return file

    @cached_property
    def dialogues(self) -> list[str]:
        """Every pair's chosen dialogue, followed by its rejected one."""
        with gzip.open(self.data_file, "rt", encoding="utf-8") as lines:
            return [row["chosen"] + row["rejected"] for row in map(json.loads, lines)]


def say(what: str) -> None:
    """Progress, on stderr: stdout is for the JSON document."""
    print(what, file=sys.stderr, flush=True)
