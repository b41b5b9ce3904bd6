"""OpenRLHF: `architectures: ["RewardModel"]`, head `score` (`value_head` before 2024-12-16), one row, no bias."""

from __future__ import annotations

from rewardserve_export.checkpoint._files import CheckpointFiles
from rewardserve_export.checkpoint._value_head import find_head
from rewardserve_export.checkpoint.formats._format import CheckpointFormat, Contents, normalization_of

__all__ = ["OPENRLHF"]


def _matches(files: CheckpointFiles) -> bool:
    return "RewardModel" in files.architectures and bool(files.weights.files)


def _read(files: CheckpointFiles) -> Contents:
    # config.json may lack the prefix, or name another one than the tensors have.
    prefixes = [files.config.get("value_head_prefix") or "score", "score", "value_head"]
    head = find_head(files, files.weights, prefixes)
    return Contents(head=head, normalization=normalization_of(files.config))


OPENRLHF = CheckpointFormat(name="OpenRLHF", matches=_matches, read=_read)
