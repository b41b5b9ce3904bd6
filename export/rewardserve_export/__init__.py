"""Checkpoint -> packed graph -> Triton model repository."""

from rewardserve_export._checkpoint_scorer import CheckpointScorer, checkpoint_scorer
from rewardserve_export._export import ExportSummary, Progress, export
from rewardserve_export._inspect import CheckpointReport, TokenizerReport, inspect_checkpoint
from rewardserve_export._memory import MemoryEstimate
from rewardserve_export._options import DEFAULT_MAX_LENGTH, ExportOptions, Limits, TokenizationPreset, Truncation
from rewardserve_export._plan import CPU_OVERHEAD, GPU_OVERHEAD, Plan, ServingTarget, Throughput, plan
from rewardserve_export._reference import RewardReference
from rewardserve_export._verify import DEFAULT_TEXTS, Check, Verification, verify
from rewardserve_export.repository import Scheduling

__all__ = [
    "CPU_OVERHEAD",
    "DEFAULT_MAX_LENGTH",
    "DEFAULT_TEXTS",
    "GPU_OVERHEAD",
    "Check",
    "CheckpointReport",
    "CheckpointScorer",
    "ExportOptions",
    "ExportSummary",
    "Limits",
    "MemoryEstimate",
    "Plan",
    "Progress",
    "RewardReference",
    "Scheduling",
    "ServingTarget",
    "Throughput",
    "TokenizationPreset",
    "TokenizerReport",
    "Truncation",
    "Verification",
    "checkpoint_scorer",
    "export",
    "inspect_checkpoint",
    "plan",
    "verify",
]
