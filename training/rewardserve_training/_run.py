"""What a training writes down about itself: what it was asked for, its log, its result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rewardserve_training._errors import TrainingError
from rewardserve_training._options import TrainOptions

__all__ = ["LOG_FILE", "RUN_FILE", "check_output", "describe_run", "read_run", "write_log", "write_run"]

RUN_FILE = "training.json"
LOG_FILE = "training_log.jsonl"

_MAY_DIFFER = {"resume", "output", "save_steps", "logging_steps", "report_to", "save_format", "normalize"}
"""Options that don't change what is trained."""


def check_output(options: TrainOptions) -> None:
    """Refuses a directory that something else is in.

    Raises:
        TrainingError: It holds files, and this is no resumed training.
    """
    if options.output.exists() and not options.output.is_dir():
        raise TrainingError(f"{options.output} isn't a directory. Remedy: another output")
    if not options.resume and options.output.is_dir() and any(options.output.iterdir()):
        raise TrainingError(f"{options.output} isn't empty. Remedy: another output; or resume, to go on in it")


def describe_run(source: str | Path, options: TrainOptions, data_digest: str, pairs: dict[str, int]) -> dict[str, Any]:
    """The run as JSON; two runs that agree in it train the same."""
    asked = dataclasses.asdict(options)
    return {
        "base": str(source),
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
        "data_sha256": data_digest,
        "pairs": pairs,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")},
    }


def write_run(directory: Path, run: dict[str, Any], *, resumed: bool) -> None:
    """Writes what is trained beside it; a resumed training must be the one that was begun.

    Raises:
        TrainingError: It isn't: the message names what differs.
    """
    file = directory / RUN_FILE
    if resumed and file.is_file():
        begun = read_run(directory)
        names = [name for name in run["options"] if name not in _MAY_DIFFER]
        differing = [name for name in names if begun["options"].get(name) != run["options"][name]]
        differing += [name for name in ("base", "data_sha256") if begun[name] != run[name]]
        if differing:
            raise TrainingError(
                f"{directory} was begun with another {', '.join(differing)} ({file.name} has them). "
                "Remedy: the same options and data again; or another output, without resume"
            )
    file.write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_run(directory: Path) -> dict[str, Any]:
    """What `write_run` wrote."""
    run: dict[str, Any] = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    return run


def write_log(directory: Path, history: Sequence[dict[str, Any]]) -> None:
    """The trainer's log, one object a line: steps with loss, accuracy, margin and rewards, and evaluations."""
    text = "".join(json.dumps(entry) + "\n" for entry in history)
    (directory / LOG_FILE).write_text(text, encoding="utf-8")
