"""Versions in a repository, without a server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rewardserve import ReleaseError
from rewardserve_export.repository import (
    ModelDirectory,
    Pruning,
    Versions,
    check_repository,
    promote,
    prune,
    publish,
    read_config,
    reward_config,
    rollback,
    stage_companions,
    stage_version,
    staging,
)
from support.files import contents


def publish_again(model: ModelDirectory) -> str:
    """The highest version once more, as an export publishes it."""
    versions = Versions(model)
    number, contract = model.next_version(), versions.contracts[versions.numbers[-1]]
    with staging(model.repository) as staged:
        (staged / model.name / number).mkdir(parents=True)
        stage_version(staged / model.name / number, "python", contract, b"{}")
        stage_companions(staged, model.name, number, contract, b"{}")
        texts = {each: versions.contracts[each].to_json() for each in versions.numbers}
        publish(staged, model, number, reward_config(model.name, "python", contract, version=number, earlier=texts))
    return number


def served(model: ModelDirectory, name: str = "reward") -> list[int]:
    policy = read_config(model.repository / name / "config.pbtxt").version_policy
    return list(policy.specific.versions)


def test_the_highest_is_the_default_until_one_is_promoted(release_repository: Path) -> None:
    model = ModelDirectory(release_repository, "reward")
    assert [(each.number, each.default, each.served) for each in Versions(model).all()] == [
        ("1", False, False),
        ("2", True, True),
    ]
    done = promote(model, "1")
    assert (done.version, done.previous, done.served) == ("1", "2", ("1", "2"))
    assert (served(model), served(model, "reward_text")) == ([1, 2], [1])
    assert publish_again(model) == "3"
    assert (served(model), served(model, "reward_text")) == ([1, 2], [1])
    assert Versions(model).default == "1"


def test_rollback_goes_back_and_forth(release_repository: Path) -> None:
    model = ModelDirectory(release_repository, "reward")
    promote(model, "2")
    assert rollback(model).version == "1"
    assert rollback(model).version == "2"
    assert promote(model).previous == "1"  # the default once more: what is before it stays


def test_prune_keeps_what_a_rollback_needs(release_repository: Path) -> None:
    model = ModelDirectory(release_repository, "reward")
    assert prune(model) == Pruning(stopped=(), removed=())
    assert served(model) == []
    promote(model, "1")
    assert prune(model, keep=1).removed == ()  # what is above the default isn't live yet
    promote(model, "2")
    done = prune(model, keep=2)
    assert (done.stopped, done.removed) == (("1",), ())
    assert (served(model), served(model, "reward_text")) == ([2], [2])
    before = set(contents(release_repository))
    assert prune(model, keep=1).removed == ("1",)
    gone = before - set(contents(release_repository))
    assert {Path(name).parts[:2] for name in map(str, gone)} == {("reward", "1"), ("reward_text", "1")}
    assert [check.problems for check in check_repository(release_repository)] == [()]
    with pytest.raises(ReleaseError, match="has no version 1, but 2"):
        rollback(model)


def cut_short(repository: Path) -> None:
    graph = repository / "reward" / "1" / "model.onnx.data"
    graph.write_bytes(graph.read_bytes()[:-1])


def swap(repository: Path) -> None:
    graphs = [repository / "reward" / version / "model.onnx.data" for version in "12"]
    assert graphs[0].stat().st_size == graphs[1].stat().st_size
    shutil.copyfile(graphs[1], graphs[0])


def remove(repository: Path) -> None:
    (repository / "reward_text" / "1" / "scorer.py").unlink()


def add(repository: Path) -> None:
    (repository / "reward" / "1" / "sitecustomize.py").write_text("")


def change_tokenizer(repository: Path) -> None:
    (path,) = (repository / "reward_tokenizer" / "1").glob("*.json")
    path.write_text(path.read_text().replace("[", "[ ", 1))


def replace_in_config(old: str, new: str) -> Callable[[Path], None]:
    def change(repository: Path) -> None:
        path = repository / "reward" / "config.pbtxt"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def other_contract(repository: Path) -> None:
    path = repository / "reward" / "1" / "contract.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "precision": "bf16"}))


FAULTS = {
    "cut short": (cut_short, r"^reward/1/model\.onnx\.data has [\d,]+ bytes, [\d,]+ were exported, it was cut short$"),
    "swapped": (swap, r"^reward/1/model\.onnx\.data has another content than was exported$"),
    "removed": (remove, r"^reward_text/1/scorer\.py is missing$"),
    "added": (add, r"^reward/1/sitecustomize\.py isn't listed in the manifest$"),
    "tokenizer": (change_tokenizer, r"^reward_tokenizer/1/\w{64}\.json has "),
    "no manifest": (lambda path: (path / "reward/1/manifest.json").unlink(), r"manifest\.json can't be read"),
    "tensor": (replace_in_config('name: "fingerprints"', 'name: "fingers"'), r"^reward/config\.pbtxt: output isn't"),
    "batching": (replace_in_config("max_batch_size: 64\n", ""), r"turns off batching"),
    "contract": (other_contract, r"^reward/config\.pbtxt has another contract for version 1 than reward/1/contract"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_finds(fault: str, release_repository: Path) -> None:
    damage, message = FAULTS[fault]
    assert [check.problems for check in check_repository(release_repository)] == [()]
    damage(release_repository)
    (found,) = check_repository(release_repository)
    assert found.problems
    assert any(re.search(message, problem) for problem in found.problems), found.problems


def test_a_damaged_version_is_not_promoted(release_repository: Path) -> None:
    swap(release_repository)
    before = contents(release_repository)
    with pytest.raises(ReleaseError, match=r"version 1 isn't what was exported: reward/1/model\.onnx\.data"):
        promote(ModelDirectory(release_repository, "reward"), "1")
    assert contents(release_repository) == before
