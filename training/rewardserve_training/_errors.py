"""The error of a training, below rewardserve's RewardServeError."""

from __future__ import annotations

from rewardserve import RewardServeError

__all__ = ["TrainingError"]


class TrainingError(RewardServeError):
    """A training can't start, or can't go on, as it was asked for."""
