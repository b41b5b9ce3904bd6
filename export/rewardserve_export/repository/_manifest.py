"""The manifest of a staged version."""

from __future__ import annotations

from pathlib import Path

from rewardserve._contract import RewardContract
from rewardserve._manifest import MANIFEST, FileRecord, Manifest, Probes, version_files

__all__ = ["stage_manifest"]


def stage_manifest(staged: Path, name: str, version: str, contract: RewardContract, probes: Probes) -> None:
    """Writes the manifest of a version that is staged, complete but for it.

    Args:
        staged: Holds the version and its companions.
        name: Of the model.
        version: Its number.
        contract: Of that version.
        probes: What it must score.
    """
    names = version_files(staged, name, version, contract.tokenization.tokenizer_sha256)
    manifest = Manifest(files={each: FileRecord.of(staged / each) for each in names}, probes=probes)
    (staged / name / version / MANIFEST).write_text(manifest.to_json())
