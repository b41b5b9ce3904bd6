"""Reading reward-model checkpoints."""

from rewardserve_export.checkpoint._arithmetic import Float32Arithmetic, chunks
from rewardserve_export.checkpoint._checkpoint import Checkpoint, open_checkpoint
from rewardserve_export.checkpoint._mapped import pages_released
from rewardserve_export.checkpoint._reward_model import RewardHead, RewardModel, load_reward_model
from rewardserve_export.checkpoint.formats import FORMATS, CheckpointFormat

__all__ = [
    "FORMATS",
    "Checkpoint",
    "CheckpointFormat",
    "Float32Arithmetic",
    "RewardHead",
    "RewardModel",
    "chunks",
    "load_reward_model",
    "open_checkpoint",
    "pages_released",
]
