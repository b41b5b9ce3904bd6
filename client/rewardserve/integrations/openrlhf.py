r"""OpenRLHF: the file that `--reward.remote_url` names, when rewards come from a server of rewardserve's.

    export REWARDSERVE_URL=reward-server:8001 REWARDSERVE_MODEL=reward
    python -m openrlhf.cli.train_ppo_ray --reward.remote_url \
        $(python -c "import rewardserve.integrations.openrlhf as reward; print(reward.__file__)") …

OpenRLHF loads it in each of its vLLM engines and calls `reward_func` in threads, one rollout a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rewardserve._client import RewardClient
from rewardserve.integrations._environment import shared_client
from rewardserve.integrations._rollouts import one_reward_each, without_added_bos

__all__ = ["reward_func"]


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any
) -> dict[str, torch.Tensor]:
    """Scores rollouts as OpenRLHF wants it done.

    Args:
        queries: Prompt and response of each, with the special tokens that they hold.
        prompts: The prompts alone; not looked at.
        labels: The dataset's; not looked at.

    Returns:
        `rewards`, float32 [n].

    Raises:
        InputError: A rollout can't be scored. OpenRLHF logs it and goes on without that rollout's reward.
        ServerError: Some rewards are missing.
        ContractError: What the server serves can't be scored with.
    """
    client = shared_client(RewardClient)
    texts = without_added_bos(queries, client.contract.tokenization)
    return {"rewards": torch.tensor(one_reward_each(client.score(texts)), dtype=torch.float32)}
