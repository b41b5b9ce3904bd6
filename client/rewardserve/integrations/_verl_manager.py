"""The reward manager for verl (0.9): prompts come with the rollouts."""

from __future__ import annotations

from typing import Any

from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from rewardserve._async_client import AsyncRewardClient
from rewardserve.integrations._environment import shared_client
from rewardserve.integrations._rollouts import Rollouts, one_reward_each

__all__ = ["RewardManager"]


class RewardManager(RewardManagerBase):  # type: ignore[misc]  # verl isn't typed
    """Scores each rollout's conversation, the prompt's messages and the response, as `score_chat` does it.

    Args:
        config: verl's. `reward.reward_kwargs` may hold `url` and `model`.
        tokenizer: The policy's, which makes text of the response.
        compute_score: verl's default, or a custom reward function; not looked at.
        others: The addresses of verl's own reward models; not looked at.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **others: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        options = config.reward.get("reward_kwargs") or {}
        self._client = shared_client(AsyncRewardClient, options.get("url"), options.get("model"))

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Scores one rollout: the last sequence, as verl's own managers do.

        Args:
            data: A DataProto with `responses`, `attention_mask` and `raw_prompt`.

        Returns:
            `reward_score`, and an empty `reward_extra_info`.

        Raises:
            InputError: It can't be scored. verl has no rollouts without a reward, so this ends the training.
            ServerError: There is no reward.
            ContractError: What the server serves can't be scored with.
        """
        item = data[-1:][0]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self.tokenizer.decode(responses[:length], skip_special_tokens=True)
        rollout = Rollouts(
            prompts=[item.non_tensor_batch["raw_prompt"]], completions=[[{"role": "assistant", "content": text}]]
        )
        return {"reward_score": one_reward_each(await rollout.score(self._client))[0], "reward_extra_info": {}}
