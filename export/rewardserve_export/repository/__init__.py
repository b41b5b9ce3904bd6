"""From a graph to a Triton model repository."""

from rewardserve_export.repository._check import ModelCheck, check_repository
from rewardserve_export.repository._config import STOCK_BACKENDS, Backend, contracts_in, read_config, reward_config
from rewardserve_export.repository._files import stage_companions, stage_version
from rewardserve_export.repository._manifest import stage_manifest
from rewardserve_export.repository._publish import ModelDirectory, publish, staging
from rewardserve_export.repository._release import Promotion, Pruning, promote, prune, rollback
from rewardserve_export.repository._scheduling import Scheduling, stage_warmup
from rewardserve_export.repository._versions import Version, Versions

__all__ = [
    "STOCK_BACKENDS",
    "Backend",
    "ModelCheck",
    "ModelDirectory",
    "Promotion",
    "Pruning",
    "Scheduling",
    "Version",
    "Versions",
    "check_repository",
    "contracts_in",
    "promote",
    "prune",
    "publish",
    "read_config",
    "reward_config",
    "rollback",
    "stage_companions",
    "stage_manifest",
    "stage_version",
    "stage_warmup",
    "staging",
]
