"""The manifest of one version of a model: every file with its sha256, and token sequences with their rewards.

It is written at export, beside the graph, and published with it. So a copy of a repository can be checked without the
checkpoint, and a server before it takes over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardserve._contract import text_model, tokenizer_model
from rewardserve._errors import ContractError

__all__ = ["MANIFEST", "FileRecord", "Manifest", "Probes", "version_files"]

MANIFEST = "manifest.json"
"""Its name in the version's directory. It lists every file but itself."""

FORMAT = 1

_MOST_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file must be.

    Attributes:
        bytes: Its size.
        sha256: Of its content.
    """

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Reads a file."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(bytes=path.stat().st_size, sha256=digest)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Token sequences and what they must score.

    Attributes:
        sequences: Token ids of each.
        rewards: By transformers in float32: a number for each sequence, or one for each label.
        tolerance: How far the served model's may be from them: as far as the exported graph's might.
    """

    sequences: tuple[tuple[int, ...], ...]
    rewards: tuple[Any, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One version's files and probes.

    Attributes:
        files: By their path inside the repository.
        probes: From the export's parity check.
    """

    files: Mapping[str, FileRecord]
    probes: Probes

    def to_json(self) -> str:
        """The manifest as one JSON object."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a `manifest.json`.

        Raises:
            ContractError: It isn't there, isn't one, or is of another rewardserve generation.
        """
        try:
            _require_small(path)
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            probes = fields["probes"]
            manifest = cls(
                files={name: FileRecord(**record) for name, record in fields["files"].items()},
                probes=Probes(
                    sequences=tuple(tuple(ids) for ids in probes["sequences"]),
                    rewards=tuple(probes["rewards"]),
                    tolerance=float(probes["tolerance"]),
                ),
            )
            written = fields["format"]
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ContractError(f"{path} can't be read ({error!r}). Remedy: export that version again") from error
        if written != FORMAT:
            raise ContractError(
                f"{path} has format {written}, this rewardserve reads {FORMAT}. Remedy: export that version again, or "
                "use the rewardserve that exported it"
            )
        return manifest

    def problems(self, repository: Path, found: Iterable[str]) -> Iterator[str]:
        """What is wrong with the files: missing, cut short, changed, or not listed.

        Args:
            repository: Where the files are.
            found: The version's files that are there, as `version_files` gives them.
        """
        for name, record in self.files.items():
            path = repository / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                yield f"{name} is no file of a repository"
            elif not path.is_file():
                yield f"{name} is missing"
            elif (size := path.stat().st_size) != record.bytes:
                cut = ", it was cut short" if size < record.bytes else ""
                yield f"{name} has {size:,} bytes, {record.bytes:,} were exported{cut}"
            elif FileRecord.of(path) != record:
                yield f"{name} has another content than was exported"
        yield from (f"{name} isn't listed in the manifest" for name in sorted(set(found) - set(self.files)))


def _require_small(path: Path) -> None:
    """Opening a FIFO would wait for its writer; a manifest has a few kilobytes."""
    if not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")


def version_files(repository: Path, model: str, version: str, tokenizer_sha256: str) -> list[str]:
    """The files of one version, those of its companions included, but for its manifest.

    What Python writes on its own (`__pycache__`) doesn't count.

    Args:
        repository: Where they are.
        model: Name of the reward model.
        version: Its number.
        tokenizer_sha256: Of the tokenizer that the companion hands out for it.
    """
    directories = (repository / model / version, repository / text_model(model) / version)
    paths = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    tokenizer = repository / tokenizer_model(model) / "1" / f"{tokenizer_sha256}.json"
    names = [path.relative_to(repository).as_posix() for path in [*paths, tokenizer] if "__pycache__" not in path.parts]
    return sorted(set(names) - {f"{model}/{version}/{MANIFEST}"})
