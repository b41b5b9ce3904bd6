"""A model repository from a stranger is checked in bounded time, and nothing outside it is read or removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from rewardserve import RewardServeError
from rewardserve_export import ExportSummary
from rewardserve_export.repository import ModelDirectory, Versions, check_repository
from support.hostile_repositories import CASES
from support.limited import run_limited


def problems(repository: Path) -> list[str]:
    (check,) = check_repository(repository, "reward")
    return list(check.problems)


@pytest.mark.parametrize("name", CASES)
def test_it_is_found(name: str, exported: ExportSummary, repository: Path, tmp_path: Path) -> None:
    spoil, problem = CASES[name]
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    spoil(copy)
    outcome = run_limited(problems, copy)
    assert outcome.kind == "returned", outcome
    assert problem in outcome.text


def test_a_good_one_has_no_problem(exported: ExportSummary, repository: Path) -> None:
    assert problems(repository) == []


def remove(repository: Path) -> Any:
    """What `prune` does with a version."""
    from rewardserve_export.repository._release import _remove

    trash = repository.parent / "trash"
    trash.mkdir()
    return _remove(Versions(ModelDirectory(repository, "reward")), "1", trash)


def test_pruning_removes_nothing_outside(exported: ExportSummary, repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    precious = tmp_path / "precious.json"
    precious.touch()
    CASES["contract: tokenizer ../../../precious"][0](copy)
    with pytest.raises(RewardServeError, match="no sha256"):
        remove(copy)
    assert precious.exists()
