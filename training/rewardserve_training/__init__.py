"""Reward models from preference pairs."""

from rewardserve_training._errors import TrainingError
from rewardserve_training._options import Precision, SaveFormat, TrainOptions
from rewardserve_training._progress import TrainProgress
from rewardserve_training._report import REPORT_FILE
from rewardserve_training._train import TrainSummary, train

__all__ = [
    "REPORT_FILE",
    "Precision",
    "SaveFormat",
    "TrainOptions",
    "TrainProgress",
    "TrainSummary",
    "TrainingError",
    "train",
]
