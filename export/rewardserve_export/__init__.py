"""Checkpoint -> packed graph -> Triton model repository."""

from rewardserve_export._checkpoint_scorer import CheckpointScorer, checkpoint_scorer
from rewardserve_export._export import ExportSummary, Progress, export
from rewardserve_export._inspect import CheckpointReport, TokenizerReport, inspect_checkpoint
from rewardserve_export._options import DEFAULT_MAX_LENGTH, ExportOptions, Limits, TokenizationPreset, Truncation
from rewardserve_export._verify import DEFAULT_TEXTS, Check, Verification, verify
from rewardserve_export.repository import Scheduling

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "DEFAULT_TEXTS",
    "Check",
    "CheckpointReport",
    "CheckpointScorer",
    "ExportOptions",
    "ExportSummary",
    "Limits",
    "Progress",
    "Scheduling",
    "TokenizationPreset",
    "TokenizerReport",
    "Truncation",
    "Verification",
    "checkpoint_scorer",
    "export",
    "inspect_checkpoint",
    "verify",
]
