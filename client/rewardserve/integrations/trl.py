"""TRL: a reward function for `GRPOTrainer` and `RLOOTrainer`, a reward model for `PPOTrainer`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from rewardserve._async_client import AsyncRewardClient
from rewardserve._client import RewardClient
from rewardserve._errors import InputError
from rewardserve._session import Session
from rewardserve.integrations._ppo import RewardModule
from rewardserve.integrations._rollouts import Rollouts, UnscoredWarning, one_reward_each

__all__ = ["RewardFunction", "RewardModule", "UnscoredWarning"]

Rewards = list[float | None]


class RewardFunction:
    """A served reward model for `GRPOTrainer(reward_funcs=[…])`.

    Conversations are scored as `score_chat` does it, with the reward model's own chat template; texts as `score_pairs`
    does it. So the model sees what it saw in training: TRL's own use of a reward model there leaves out the special
    tokens, and the EOS, with which its `RewardTrainer` trains on texts.

    Args:
        client: Of the served model. With an AsyncRewardClient TRL (1.15 or later) runs several reward functions at a
            time.
        name: What TRL's logs call the reward: `rewards/<name>/mean`.

    Example:
        >>> GRPOTrainer(reward_funcs=[RewardFunction(client)], …)  # doctest: +SKIP
    """

    def __new__(cls, client: RewardClient | AsyncRewardClient, name: str = "rewardserve") -> RewardFunction:
        """TRL awaits what has an asynchronous `__call__`, so the client decides about the class."""
        return super().__new__(_Asynchronous if isinstance(client, AsyncRewardClient) else _Synchronous)

    def __init__(self, client: RewardClient | AsyncRewardClient, name: str = "rewardserve") -> None:
        self._client: Any = client
        self.__name__ = name

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> Rewards | Coroutine[Any, Any, Rewards]:
        """Scores completions; to be awaited with an AsyncRewardClient.

        Args:
            prompts: Texts, or lists of messages.
            completions: Of the same kind, one a prompt.
            columns: What else TRL passes: the dataset's other columns, the trainer's state. Not looked at.

        Returns:
            One reward a completion, in order; None where it can't be scored.

        Raises:
            ServerError: Some rewards are missing.
            ContractError: What the server serves can't be scored with.

        Warns:
            UnscoredWarning: How many can't be scored, and why: too long, empty, refused by the chat template.
        """
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return RewardFunction, (self._client, self.__name__)


class _Synchronous(RewardFunction):
    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        rollouts = Rollouts(prompts=prompts, completions=completions)
        try:
            return list(one_reward_each(rollouts.score(self._client)))
        except InputError:
            refusals = _refused(rollouts, self._client._session)
        rollouts.warn(refusals)
        indices = [index for index in range(len(prompts)) if index not in refusals]
        return _spread(one_reward_each(rollouts.take(indices).score(self._client)), indices, len(prompts))


class _Asynchronous(RewardFunction):
    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        rollouts = Rollouts(prompts=prompts, completions=completions)
        try:
            return list(one_reward_each(await rollouts.score(self._client)))
        except InputError:
            refusals = await asyncio.to_thread(_refused, rollouts, self._client._session)
        rollouts.warn(refusals)
        indices = [index for index in range(len(prompts)) if index not in refusals]
        return _spread(one_reward_each(await rollouts.take(indices).score(self._client)), indices, len(prompts))


def _refused(rollouts: Rollouts, session: Session) -> dict[int, InputError]:
    def check(some: Rollouts) -> None:
        session.encode(some.texts(session.contract.tokenization), session.timeout(None), chat=some.conversational)

    return rollouts.refused(check)


def _spread(rewards: list[float], indices: list[int], count: int) -> Rewards:
    spread: Rewards = [None] * count
    for index, reward in zip(indices, rewards, strict=True):
        spread[index] = reward
    return spread
