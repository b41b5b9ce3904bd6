"""Which versions of a model a repository holds, which are served, and which one is the default.

The state is in the configurations that Triton reads. `version_policy` says which versions are served: the highest where
there is none, as exports write it; those that it lists, once one was promoted. The companion that hands out tokenizers
says which of them is the default.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._contract import DEFAULT_VERSION, RewardContract, is_version
from rewardserve._errors import ExportError, ReleaseError
from rewardserve._manifest import MANIFEST, Manifest
from tritonclient.grpc import model_config_pb2 as pb

from rewardserve_export.repository._config import contracts_in, read_config, write_config
from rewardserve_export.repository._publish import ModelDirectory

__all__ = ["Version", "Versions"]

PREVIOUS_VERSION = "rewardserve_previous_version"
"""Beside the default one: what `rollback` goes back to."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version in a repository.

    Attributes:
        number: Its directory.
        contract: Its reward contract.
        bytes: Of its files.
        exported: When, in seconds since the epoch.
        default: Whether clients get it that name none.
        served: Whether a server that starts now loads it.
    """

    number: str
    contract: RewardContract
    bytes: int
    exported: float
    default: bool
    served: bool


class Versions:
    """The versions of one model. What changes them must hold `locked`.

    Args:
        model: Its place in a repository.

    Attributes:
        model: As given.
        numbers: Of all versions, ascending.
        contracts: Of each.
        promoted: Whether one was ever promoted; until then the highest is the default.
        default: The default's.
        previous: Of the default before; None if there was none.
        served: Of all that a server loads that starts now.
        changed: When that was changed last, in seconds since the epoch.

    Raises:
        ReleaseError: The repository has no such model.
        ExportError: A configuration can't be read.
        ContractError: A contract can't be read.
    """

    def __init__(self, model: ModelDirectory) -> None:
        self.model = model
        if not model.config_file.is_file():
            raise ReleaseError(f"{model.repository} has no model {model.name}. Remedy: check --repository and --name")
        config = read_config(model.config_file)
        texts = {number: text for number, text in contracts_in(config).items() if (model.path / number).is_dir()}
        if not texts:
            raise ReleaseError(f"{model.path} holds no version that rewardserve exported. Remedy: rewardserve export")
        self.numbers = sorted(texts, key=int)
        self.contracts = {number: RewardContract.from_json(texts[number]) for number in self.numbers}
        parameters = read_config(self.companion_config).parameters
        promoted = parameters[DEFAULT_VERSION].string_value if DEFAULT_VERSION in parameters else None
        if promoted is not None and not is_version(promoted):
            raise ExportError(f"{self.companion_config} has the default version {promoted!r:.80}. Remedy: promote one")
        self.promoted = promoted is not None
        self.default = promoted or self.numbers[-1]
        earlier = [number for number in self.numbers if int(number) < int(self.default)]
        named = parameters[PREVIOUS_VERSION].string_value if PREVIOUS_VERSION in parameters else None
        self.previous = named if promoted else next(reversed(earlier), None)
        policy = config.version_policy.specific.versions
        self.served = {str(number) for number in policy} if policy else {self.numbers[-1]}
        self.changed = model.config_file.stat().st_mtime

    @property
    def companion_config(self) -> Path:
        """The configuration that holds the default."""
        return self.model.companion / "config.pbtxt"

    def all(self) -> list[Version]:
        """All versions, ascending."""
        return [
            Version(
                number=number,
                contract=self.contracts[number],
                bytes=sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()),
                exported=directory.stat().st_mtime,
                default=number == self.default,
                served=number in self.served,
            )
            for number in self.numbers
            for directory in [self.model.path / number]
        ]

    def require(self, number: str) -> None:
        """Checks that a version is there.

        Raises:
            ReleaseError: It isn't.
        """
        if number not in self.numbers:
            raise ReleaseError(
                f"{self.model.path} has no version {number}, but {', '.join(self.numbers)}. Remedy: name one of them"
            )

    def manifest(self, number: str) -> Manifest:
        """A version's manifest.

        Raises:
            ContractError: It can't be read.
        """
        return Manifest.read(self.model.path / number / MANIFEST)

    def serve(self, numbers: Iterable[str]) -> None:
        """Says which versions of the model are served."""
        self._set_policy(self.model.config_file, numbers)
        self.served = set(numbers)

    def set_default(self, number: str, previous: str | None) -> None:
        """Says which version clients get that name none."""
        config = read_config(self.companion_config)
        config.parameters[DEFAULT_VERSION].string_value = number
        if previous is not None:
            config.parameters[PREVIOUS_VERSION].string_value = previous
        _replace_config(config, self.companion_config)
        self.default, self.previous = number, previous

    def serve_texts(self) -> None:
        """Has the text model follow what is served, and the default.

        Who names no version of it gets Triton's own choice, the highest: so it is served up to the default.
        """
        numbers = [each for each in self.served if int(each) <= int(self.default)]
        self._set_policy(self.model.text / "config.pbtxt", numbers)

    def _set_policy(self, path: Path, numbers: Iterable[str]) -> None:
        config = read_config(path)
        specific = pb.ModelVersionPolicy.Specific(versions=sorted(map(int, numbers)))
        policy = pb.ModelVersionPolicy(specific=specific)
        if config.version_policy != policy:  # a new file could have the model loaded anew
            config.version_policy.CopyFrom(policy)
            _replace_config(config, path)


def _replace_config(config: Any, path: Path) -> None:
    """Beside the model's directory, Triton would take the new file for a model; inside it's nothing to it."""
    descriptor, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "rb") as stream:
            write_config(config, temporary)
            temporary.chmod(path.stat().st_mode & 0o777)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
