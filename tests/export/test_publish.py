"""A version is published complete, or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rewardserve import ExportError
from rewardserve_export import ExportOptions, ExportSummary, export
from rewardserve_export.repository import (
    Backend,
    ModelDirectory,
    contracts_in,
    publish,
    read_config,
    reward_config,
    stage_companions,
    stage_version,
    staging,
)
from support.files import contents


@pytest.fixture(scope="module")
def publish_version(exported: ExportSummary) -> Callable[..., Path]:
    """Publishes as an export does, with a graph of a few bytes."""

    def run(repository: Path, *, name: str = "reward", backend: Backend = "python", tokenizer: str = "a" * 64) -> Path:
        target = ModelDirectory(repository, name)
        contracts = target.published_contracts(backend)
        version = target.next_version()
        with staging(target.repository) as staged:
            directory = staged / name / version
            directory.mkdir(parents=True)
            (directory / "model.onnx").write_text(f"graph {version}")
            rules = dataclasses.replace(exported.contract.tokenization, tokenizer_sha256=tokenizer)
            contract = dataclasses.replace(exported.contract, tokenization=rules, architecture=f"of version {version}")
            stage_version(directory, backend, contract, tokenizer.encode())
            stage_companions(staged, name, version, contract, tokenizer.encode())
            config = reward_config(name, backend, contract, version=version, earlier=contracts)
            return publish(staged, target, version, config)

    return run


def assert_no_staging(directory: Path) -> None:
    assert not [path for path in directory.rglob("*") if "rewardserve-export" in path.name]


def test_versions_count_up(publish_version: Callable[..., Path], tmp_path: Path) -> None:
    repository = tmp_path / "deep" / "repository"
    paths = [publish_version(repository) for _ in range(3)]
    assert [path.relative_to(repository) for path in paths] == [Path("reward", str(number)) for number in (1, 2, 3)]
    config = read_config(repository / "reward" / "config.pbtxt")
    architectures = {number: json.loads(text)["architecture"] for number, text in contracts_in(config).items()}
    assert architectures == {number: f"of version {number}" for number in "123"}
    for path in paths:
        assert (path / "model.onnx").read_text() == f"graph {path.name}"
    assert {path.name for path in repository.iterdir()} == {"reward", "reward_text", "reward_tokenizer"}
    for name in ("reward", "reward_text"):
        assert {path.name for path in (repository / name).iterdir()} == {"config.pbtxt", "1", "2", "3"}
    assert_no_staging(tmp_path)


def test_numbers_are_not_used_again_and_removed_versions_forgotten(
    publish_version: Callable[..., Path], tmp_path: Path
) -> None:
    for _ in range(2):
        publish_version(tmp_path)
    (tmp_path / "reward" / "1").rename(tmp_path / "elsewhere")
    (tmp_path / "reward" / "9").mkdir()
    (tmp_path / "reward" / "notes").mkdir()
    assert publish_version(tmp_path).name == "10"
    assert set(contracts_in(read_config(tmp_path / "reward" / "config.pbtxt"))) == {"2", "10"}


def test_companion_hands_out_every_tokenizer(publish_version: Callable[..., Path], tmp_path: Path) -> None:
    for tokenizer in ("a" * 64, "b" * 64, "a" * 64):
        publish_version(tmp_path, tokenizer=tokenizer)
    files = {path.name: path.read_text() for path in (tmp_path / "reward_tokenizer" / "1").glob("*.json")}
    assert files == {f"{letter * 64}.json": letter * 64 for letter in "ab"}
    assert read_config(tmp_path / "reward_tokenizer" / "config.pbtxt").name == "reward_tokenizer"
    assert (tmp_path / "reward_tokenizer" / "1" / "model.py").is_file()


def test_models_live_side_by_side(publish_version: Callable[..., Path], tmp_path: Path) -> None:
    publish_version(tmp_path, name="one")
    before = contents(tmp_path)
    publish_version(tmp_path, name="two", backend="onnxruntime")
    after = contents(tmp_path)
    assert before.items() <= after.items()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{companion}" for name in ("one", "two") for companion in ("", "_text", "_tokenizer")
    }
    assert (tmp_path / "one" / "1" / "model.py").is_file()
    assert not (tmp_path / "two" / "1" / "model.py").exists()


def test_files_can_be_read_by_the_server_s_user(publish_version: Callable[..., Path], tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        publish_version(tmp_path / "repository")
    finally:
        os.umask(before)
    for path in (tmp_path / "repository").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("name", ["../x", ".hidden", "", "a/b", "..", "/etc", "a\n", "-x", "a b"])
def test_names_that_are_no_model_s_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="can't name a model"):
        ModelDirectory(tmp_path, name)


@pytest.mark.parametrize("name", ["reward", "reward-2.1", "_r", "7b"])
def test_names_that_triton_takes_are_taken(name: str, tmp_path: Path) -> None:
    assert ModelDirectory(tmp_path, name).path == tmp_path / name


def foreign_model(repository: Path) -> None:
    (repository / "reward" / "1").mkdir(parents=True)
    (repository / "reward" / "config.pbtxt").write_text('name: "reward" backend: "python"')


def directory_without_configuration(repository: Path) -> None:
    (repository / "reward" / "1").mkdir(parents=True)


def file_in_the_way(repository: Path) -> None:
    (repository / "reward").write_text("a file")


def foreign_companion(repository: Path) -> None:
    (repository / "reward_tokenizer" / "1").mkdir(parents=True)
    (repository / "reward_tokenizer" / "config.pbtxt").write_text('name: "reward_tokenizer" backend: "python"')


def foreign_text_model(repository: Path) -> None:
    (repository / "reward_text" / "1").mkdir(parents=True)
    (repository / "reward_text" / "config.pbtxt").write_text('name: "reward_text" backend: "python"')


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (foreign_model, "isn't a reward model of ours"),
        (directory_without_configuration, r"config\.pbtxt can't be read"),
        (file_in_the_way, r"config\.pbtxt can't be read"),
        (foreign_companion, "reward_tokenizer is another model"),
        (foreign_text_model, "reward_text is another model"),
    ],
)
def test_what_is_not_ours_is_left_alone(
    occupy: Callable[[Path], None], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    occupy(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ExportError, match=message):
        export(checkpoint, ExportOptions(repository=tmp_path))
    assert contents(tmp_path) == before


def test_backends_do_not_mix(exported: ExportSummary, repository: Path, checkpoint: Path) -> None:
    before = contents(repository)
    with pytest.raises(ExportError, match=r"has versions for the python backend.*Remedy: export with --backend python"):
        export(checkpoint, ExportOptions(repository=repository, backend="onnxruntime"))
    assert contents(repository) == before
    assert_no_staging(repository.parent)


class _Fault:
    """Lets file operations work until the nth, which fails: before its effect, or after it."""

    OPERATIONS = ("mkdir", "rename", "replace", "fsync")

    def __init__(self, nth: int, error: BaseException, *, after: bool) -> None:
        self.left = nth
        self.error = error
        self.after = after

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.OPERATIONS:
            patch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            due = self.left == 0
            if due and not self.after:
                raise self.error
            try:
                return operation(*arguments, **options)
            finally:
                if due and self.after:
                    raise self.error

        return wrapped


@pytest.mark.parametrize("first", [True, False], ids=["first version", "next version"])
@pytest.mark.parametrize(
    ("error", "raised", "after"),
    [
        (OSError(28, "No space left on device"), ExportError, False),
        (KeyboardInterrupt(), KeyboardInterrupt, False),
        (KeyboardInterrupt(), KeyboardInterrupt, True),
    ],
    ids=["disk full", "interrupted before", "interrupted after"],
)
def test_failure_at_any_step_leaves_the_repository_as_it_was(
    first: bool,
    error: BaseException,
    raised: type[BaseException],
    after: bool,
    publish_version: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = tmp_path / "new" / "repository"
    if not first:
        publish_version(repository)
    before = contents(tmp_path)
    # Step 1 is mkdtemp's own: behind it, the directory's name isn't known to anybody yet.
    for step in range(2 if after else 1, 100):
        with monkeypatch.context() as patch:
            _Fault(step, error, after=after).install(patch)
            try:
                published = publish_version(repository, tokenizer="b" * 64)
            except raised:
                assert contents(tmp_path) == before, f"at step {step}"
            else:
                break
    assert step > 10, "there must be steps to fail at"
    assert published.name == ("1" if first else "2")
    assert_no_staging(tmp_path)


def test_version_that_appears_meanwhile_is_kept(
    publish_version: Callable[..., Path], exported: ExportSummary, tmp_path: Path
) -> None:
    publish_version(tmp_path)
    target = ModelDirectory(tmp_path, "reward")
    version = target.next_version()
    with staging(target.repository) as staged:
        (staged / "reward" / version).mkdir(parents=True)
        stage_companions(staged, "reward", version, exported.contract, b"other")
        publish_version(tmp_path)
        before = contents(tmp_path)
        config = reward_config("reward", "python", exported.contract, version=version, earlier={})
        with pytest.raises(ExportError, match="that no other export is running"):
            publish(staged, target, version, config)
        assert contents(tmp_path) == before
    assert version == "2"
    assert exported.version == "1"


def test_staging_lies_beside_the_repository(tmp_path: Path) -> None:
    """Inside, Triton would take it for a model; on another filesystem it couldn't be moved."""
    repository = tmp_path / "to" / "come"
    with staging(repository) as staged:
        assert staged.parent == tmp_path
        assert staged.stat().st_mode & 0o777 == 0o755
        assert not repository.parent.exists()
    assert list(tmp_path.iterdir()) == []
