"""TRL: a reward function for `GRPOTrainer` and `RLOOTrainer`, a reward model for `PPOTrainer`.

Both are what https://huggingface.co/docs/trl documents: a callable that takes `prompts` and `completions`, and a module
that `trl.experimental.utils.get_reward` can be called with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardserve._client import RewardClient
from rewardserve._errors import InputError
from rewardserve.integrations._ppo import RewardModule
from rewardserve.integrations._rollouts import Rollouts, one_reward_each

__all__ = ["RewardFunction", "RewardModule"]


class RewardFunction:
    def __init__(self, client: RewardClient, *, name: str = "rewardserve") -> None:
        self.__name__ = name
        self._client = client

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        rollouts = Rollouts(prompts=prompts, completions=completions)
        try:
            return list(one_reward_each(self._score(rollouts)))
        except InputError:
            indices = rollouts.scorable(self._check)
        return rollouts.spread(one_reward_each(self._score(rollouts.take(indices))), indices)

    def _score(self, rollouts):
        if rollouts.conversational:
            return self._client.score_chat(rollouts.conversations)
        return self._client.score_pairs(rollouts.prompts, rollouts.completions)

    def _check(self, rollouts):
        self._client._tokenize(rollouts.texts(self._client.contract.tokenization), None, chat=rollouts.conversational)
