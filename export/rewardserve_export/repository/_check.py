"""Is a repository what was exported? Files against their manifest, configurations against the reward contracts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._errors import ContractError, ExportError, ReleaseError
from rewardserve._manifest import MANIFEST, version_files

from rewardserve_export.repository._config import contracts_in, read_config, reward_config, scores_texts_of
from rewardserve_export.repository._publish import ModelDirectory
from rewardserve_export.repository._versions import Versions

__all__ = ["ModelCheck", "check_repository", "version_problems"]

_WIRE_FIELDS = ("name", "backend", "platform", "input", "output", "batch_input", "batch_output")
"""What follows from the contract; the rest of a configuration is the operator's."""


@dataclass(frozen=True, kw_only=True)
class ModelCheck:
    """What was found of one model.

    Attributes:
        model: Its name.
        versions: That were checked.
        problems: One sentence each; empty if everything is as exported.
    """

    model: str
    versions: tuple[str, ...]
    problems: tuple[str, ...]


def check_repository(repository: Path, name: str | None = None) -> list[ModelCheck]:
    """Checks every file of every version, and the configurations.

    Args:
        repository: A Triton model repository.
        name: Of one model; None checks all that rewardserve exported.

    Raises:
        ReleaseError: There is no such model.
    """
    names = [name] if name else sorted(path.parent.name for path in repository.glob("*/config.pbtxt") if _is_ours(path))
    if not names:
        raise ReleaseError(f"{repository} holds no model that rewardserve exported. Remedy: check --repository")
    return [_check_model(ModelDirectory(repository, each)) for each in names]


def version_problems(versions: Versions, number: str) -> Iterator[str]:
    """What is wrong with one version's files, and with the configuration for it.

    Args:
        versions: The model's.
        number: Of the version.
    """
    model, contract = versions.model, versions.contracts[number]
    try:
        manifest = versions.manifest(number)
    except ContractError:
        yield f"{model.name}/{number}/{MANIFEST} can't be read: it is damaged, or of another rewardserve"
    else:
        found = version_files(model.repository, model.name, number, contract.tokenization.tokenizer_sha256)
        yield from manifest.problems(model.repository, found)
    config = read_config(model.config_file)
    for directory in (model.path / number, model.text / number):
        path = directory / "contract.json"
        if path.is_file() and path.read_text() != contract.to_json():
            where = path.relative_to(model.repository)
            yield f"{model.name}/config.pbtxt has another contract for version {number} than {where}"
    yield from _config_problems(config, reward_config(model.name, config.backend, contract, version=number, earlier={}))


def _check_model(model: ModelDirectory) -> ModelCheck:
    try:
        versions = Versions(model)
        problems = [*_state_problems(versions)]
        for number in versions.numbers:
            problems += version_problems(versions, number)
    except (ContractError, ExportError) as error:
        return ModelCheck(model=model.name, versions=(), problems=(str(error),))
    return ModelCheck(model=model.name, versions=tuple(versions.numbers), problems=tuple(dict.fromkeys(problems)))


def _state_problems(versions: Versions) -> Iterator[str]:
    model = versions.model
    directories = {path.name for path in model.path.iterdir() if path.is_dir() and path.name.isdecimal()}
    for number in sorted(directories - set(versions.numbers), key=int):
        yield f"{model.name}/{number} has no contract in {model.name}/config.pbtxt"
    for number in sorted(versions.served - set(versions.numbers), key=int):
        yield f"{model.name}/config.pbtxt serves version {number}, which isn't there"
    if versions.default not in versions.served:
        yield f"{model.name}/config.pbtxt doesn't serve version {versions.default}, the default"
    if not scores_texts_of(read_config(model.text / "config.pbtxt"), model.name):
        yield f"{model.text.name}/config.pbtxt doesn't name {model.name}"


def _config_problems(config: Any, expected: Any) -> Iterator[str]:
    name = expected.name
    for field in _WIRE_FIELDS:
        if getattr(config, field) != getattr(expected, field):
            yield f"{name}/config.pbtxt: {field} isn't what the contract asks for"
    if config.backend != "python" and config.max_batch_size > expected.max_batch_size:
        yield (
            f"{name}/config.pbtxt: max_batch_size {config.max_batch_size} lets a batch exceed the contract's "
            f"max_batch_tokens, {expected.max_batch_size} doesn't"
        )
    if config.max_batch_size < 1:
        yield f"{name}/config.pbtxt: max_batch_size {config.max_batch_size} turns off batching, which the tensors need"


def _is_ours(path: Path) -> bool:
    try:
        return bool(contracts_in(read_config(path)))
    except ExportError:  # whose it is can't be told; a model of ours that is asked for by name is reported
        return False
