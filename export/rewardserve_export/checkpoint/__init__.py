"""Reading reward-model checkpoints."""

from rewardserve_export.checkpoint._arithmetic import Float32Arithmetic, chunks
from rewardserve_export.checkpoint._backbone import quiet
from rewardserve_export.checkpoint._checkpoint import Checkpoint, open_checkpoint
from rewardserve_export.checkpoint._mapped import pages_released
from rewardserve_export.checkpoint._reward_model import RewardHead, RewardModel, load_reward_model
from rewardserve_export.checkpoint._tokenizer import CheckpointTokenizer, read_tokenizer
from rewardserve_export.checkpoint._trained_tokenization import TOKENIZATION_FILE, write_trained_tokenization
from rewardserve_export.checkpoint._value_head import HeadLocation, load_head
from rewardserve_export.checkpoint.formats import FORMATS, CheckpointFormat

__all__ = [
    "FORMATS",
    "TOKENIZATION_FILE",
    "Checkpoint",
    "CheckpointFormat",
    "CheckpointTokenizer",
    "Float32Arithmetic",
    "HeadLocation",
    "RewardHead",
    "RewardModel",
    "chunks",
    "load_head",
    "load_reward_model",
    "open_checkpoint",
    "pages_released",
    "quiet",
    "read_tokenizer",
    "write_trained_tokenization",
]
