"""Exported graphs, run in this process: the same graph that the server runs, without the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._setup import MODEL, BenchmarkError

if TYPE_CHECKING:
    from rewardserve_export.parity import Runner

__all__ = ["identity", "newest_version", "runner", "runs_of"]

_RUNNERS = {"model.onnx": "onnx_runner", "model.pt": "torchscript_runner"}
"""File of a version -> what runs it, in `rewardserve_export.parity`."""


def newest_version(repository: Path) -> Path:
    """Directory of the newest version exported in a repository.

    Raises:
        BenchmarkError: There is none.
    """
    versions = [path for path in (repository / MODEL).glob("*") if path.name.isdigit()]
    if not versions:
        raise BenchmarkError(f"{repository} holds no export named {MODEL!r}. Remedy: leave --repository out")
    return max(versions, key=lambda path: int(path.name))


def runner(version: Path) -> Runner:
    """What runs a version's graph on the CPU.

    Raises:
        BenchmarkError: It is of a format that this version of rewardserve can't run.
    """
    from rewardserve_export import parity

    for file, name in _RUNNERS.items():
        if (version / file).is_file() and hasattr(parity, name):
            make: Any = getattr(parity, name)
            run: Runner = make(version / file)
            return run
    raise BenchmarkError(f"{version} holds no graph that can be run here, none of {', '.join(_RUNNERS)}")


def identity(version: Path) -> int:
    """What a version's graph adds to its fingerprints."""
    found: int = json.loads((version / "contract.json").read_text())["identity"]
    return found


def runs_of(sequences: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Positions of the sequences, by length, in runs of at most so many tokens, or of one longer sequence."""
    runs: list[list[int]] = [[]]
    taken = 0
    for index in np.argsort([len(sequence) for sequence in sequences], kind="stable").tolist():
        if runs[-1] and taken + len(sequences[index]) > tokens:
            runs.append([])
            taken = 0
        runs[-1].append(index)
        taken += len(sequences[index])
    return runs
