"""Publishing a version of a model: complete, or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from rewardserve._contract import text_model, tokenizer_model
from rewardserve._errors import ExportError
from tritonclient.grpc import model_config_pb2 as pb

from rewardserve_export.repository._config import (
    Backend,
    contracts_in,
    read_config,
    scores_texts_of,
    tokenizer_config,
    write_config,
)
from rewardserve_export.repository._scheduling import WARMUP

__all__ = ["ModelDirectory", "locked", "publish", "staging"]


class ModelDirectory:
    """A model's place in a repository.

    Args:
        repository: The model repository; it need not exist yet.
        name: Of the model.

    Raises:
        ExportError: The name can't be a model's.
    """

    def __init__(self, repository: Path, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise ExportError(f"{name!r} can't name a model. Remedy: use letters, digits, '_', '-' and '.'")
        self.repository = repository.resolve()
        self.name = name
        self.path = self.repository / name
        self.companion = self.repository / tokenizer_model(name)
        self.text = self.repository / text_model(name)
        self.config_file = self.path / "config.pbtxt"

    def next_version(self) -> str:
        """One more than the highest version there is."""
        entries = [entry for path in (self.path, self.text) if path.is_dir() for entry in path.iterdir()]
        return str(1 + max((int(entry.name) for entry in entries if entry.name.isdecimal()), default=0))

    def published_contracts(self, backend: Backend) -> dict[str, str]:
        """The contracts of the versions that are there already.

        Raises:
            ExportError: The directory, or a companion's, holds something else than versions for this backend.
        """
        self._check_companions()
        if not self.path.exists():
            return {}
        config = read_config(self.config_file)
        contracts = contracts_in(config)
        if not contracts:
            raise ExportError(f"{self.path} isn't a reward model of ours. Remedy: use another --name, or remove it")
        if config.backend != backend:
            raise ExportError(
                f"{self.path} has versions for the {config.backend} backend, one model can't mix backends. "
                f"Remedy: export with --backend {config.backend}, or use another --name"
            )
        return {version: text for version, text in contracts.items() if (self.path / version).is_dir()}

    def _check_companions(self) -> None:
        for path, task, is_ours in (
            (self.companion, "hands out tokenizers", self._hands_out_tokenizers),
            (self.text, "scores texts", lambda config: scores_texts_of(config, self.name)),
        ):
            if path.exists() and not is_ours(read_config(path / "config.pbtxt")):
                raise ExportError(
                    f"{path} is another model, but its name is needed for the one that {task}. "
                    "Remedy: use another --name, or remove it"
                )

    def _hands_out_tokenizers(self, config: Any) -> bool:
        expected = tokenizer_config(self.companion.name)
        expected.MergeFrom(pb.ModelConfig(parameters=config.parameters))  # as `promote` writes them
        return bool(config == expected)


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A temporary directory on the repository's filesystem, removed at the end.

    It lies beside the repository, since Triton takes every directory inside for a model; only if the repository is a
    mount point of its own must it lie inside.
    """
    parent = _staging_place(repository)
    try:
        directory = Path(tempfile.mkdtemp(prefix=".rewardserve-export-", dir=parent))
    except OSError as error:
        raise ExportError(
            f"can't write beside {repository} ({error}). Remedy: use a --repository you may write to"
        ) from error
    try:
        directory.chmod(0o755)
        yield directory
    except OSError as error:
        raise ExportError(f"the export couldn't be written ({error}). Remedy: check the disk's space") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(staged: Path, model: ModelDirectory, version: str, config: Any) -> Path:
    """Moves a staged version, its companions and its configuration into the repository.

    Args:
        staged: Holds `<name>/<version>/` and the companions, complete but for the model's config.pbtxt.
        model: Where to.
        version: Of the staged version.
        config: The model's configuration, with the contracts of all versions.

    Returns:
        The published version's directory.

    Raises:
        ExportError: It can't be moved; the repository is as it was.
    """
    write_config(config, staged / model.name / "config.pbtxt")
    _sync(staged)
    try:
        # Two exports of one repository stage in one place: the second waits, and finds its version taken.
        with locked(model.repository), _undone_on_failure() as undo:
            if model.next_version() != version:
                raise ExportError(
                    f"another version of {model.name} than {version} is next by now. "
                    "Remedy: check that no other export is running; then export again"
                )
            for each in (model.name, model.text.name):
                _keep_version_policy(model.repository / each / "config.pbtxt", staged / each / "config.pbtxt")
            _make_directories(model.repository, undo)
            for source, target in _moves(staged, model, version):
                _move(source, target, undo)
                _sync_directory(target.parent)
    except OSError as error:
        raise ExportError(
            f"version {version} of {model.name} can't be published in {model.repository} ({error}). "
            "Remedy: check its permissions and space, and that no other export is running; then export again"
        ) from error
    return model.path / version


def _moves(staged: Path, model: ModelDirectory, version: str) -> Iterator[tuple[Path, Path]]:
    """What to move where, in an order in which every state between is one that Triton and clients can live with.

    The tokenizer comes before the contract that names it; a new configuration holds the contracts of all versions, so
    it may come before the version itself; the version, which makes Triton load it, comes later, and last the one that
    scores texts with it.
    """
    companion = staged / model.companion.name
    if not model.companion.exists():
        yield companion, model.companion
    else:
        for file in (companion / "1").glob("*.json"):
            if not (model.companion / "1" / file.name).exists():
                yield file, model.companion / "1" / file.name
    for target in (model.path, model.text):
        source = staged / target.name
        if not target.exists():
            yield source, target
        else:
            yield from _new_files(source / WARMUP, target / WARMUP)
            yield source / "config.pbtxt", target / "config.pbtxt"
            yield source / version, target / version


def _new_files(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """Files that equal names make equal."""
    if source.is_dir() and not target.exists():
        yield source, target
    elif source.is_dir():
        yield from ((file, target / file.name) for file in source.iterdir() if not (target / file.name).exists())


def _keep_version_policy(current: Path, staged: Path) -> None:
    """Once a version was promoted, a new one isn't served before it is promoted itself."""
    if current.exists() and (policy := read_config(current)).HasField("version_policy"):
        config = read_config(staged)
        config.version_policy.CopyFrom(policy.version_policy)
        write_config(config, staged)
        _sync(staged.parent)


def _staging_place(repository: Path) -> Path:
    parent = next(path for path in (repository.parent, *repository.parent.parents) if path.is_dir())
    if repository.is_dir() and repository.stat().st_dev != parent.stat().st_dev:
        return repository
    return parent


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Waits until nobody else publishes in a repository, or changes what it serves."""
    descriptor = os.open(_staging_place(repository), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _undone_on_failure() -> Iterator[ExitStack]:
    """Callbacks that run, the last first, if the block ends by any exception, Ctrl-C included."""
    with ExitStack() as undo:
        yield undo
        undo.pop_all()


def _make_directories(path: Path, undo: ExitStack) -> None:
    for directory in reversed([parent for parent in (path, *path.parents) if not parent.exists()]):
        undo.callback(_remove_if_empty, directory)
        directory.mkdir(exist_ok=True)


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _move(source: Path, target: Path, undo: ExitStack) -> None:
    if target.is_file():
        backup = source.with_name(f"{source.name}.replaced")
        shutil.copy2(target, backup)
        undo.callback(backup.replace, target)
        source.replace(target)
    else:
        undo.callback(_move_back, source, target)
        source.rename(target)


def _move_back(source: Path, target: Path) -> None:
    # Where the move itself is what failed, the target is somebody else's.
    if not source.exists():
        target.rename(source)


def _sync(directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_directory(path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
