"""Reward models from preference pairs."""

from rewardserve_training._bradley_terry import fit_value_head
from rewardserve_training._errors import TrainingError
from rewardserve_training._features import last_hidden_states
from rewardserve_training._options import Precision, SaveFormat, TrainOptions
from rewardserve_training._train import TrainSummary, train

__all__ = [
    "Precision",
    "SaveFormat",
    "TrainOptions",
    "TrainSummary",
    "TrainingError",
    "fit_value_head",
    "last_hidden_states",
    "train",
]
