"""From a graph to a Triton model repository."""

from rewardserve_export.repository._config import STOCK_BACKENDS, Backend, contracts_in, read_config, reward_config
from rewardserve_export.repository._files import stage_companions, stage_version
from rewardserve_export.repository._publish import ModelDirectory, publish, staging

__all__ = [
    "STOCK_BACKENDS",
    "Backend",
    "ModelDirectory",
    "contracts_in",
    "publish",
    "read_config",
    "reward_config",
    "stage_companions",
    "stage_version",
    "staging",
]
