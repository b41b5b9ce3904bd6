"""verl: a `custom_reward_function`, and a reward manager.

Both ask the server at REWARDSERVE_URL for the model REWARDSERVE_MODEL (localhost:8001 and reward by default), or what
`reward_kwargs` says instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rewardserve._async_client import AsyncRewardClient
from rewardserve._client import RewardClient
from rewardserve._errors import InputError
from rewardserve.integrations._environment import shared_client
from rewardserve.integrations._rollouts import Rollouts, one_reward_each

if TYPE_CHECKING:
    from rewardserve.integrations._verl_manager import RewardManager

__all__ = ["RewardManager", "compute_score", "compute_score_async"]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    model: str | None = None,
    prompt_key: str = "prompt",
    **_: Any,
) -> float:
    """Scores one rollout; verl calls it in threads.

    Args:
        data_source: The dataset's name; not looked at.
        solution_str: The response, without special tokens.
        ground_truth: The dataset's; not looked at.
        extra_info: The row's; holds the prompt, which verl doesn't pass.
        url: `host:port` of the server; several replicas behind commas.
        model: The reward model's name there.
        prompt_key: Where in `extra_info` the prompt is: a list of messages, scored as `score_chat` does it, or a
            text, as `score_pairs`.

    Returns:
        The reward.

    Raises:
        InputError: It can't be scored. verl has no rollouts without a reward, so this ends the training.
        ServerError: There is no reward.
        ContractError: What the server serves can't be scored with.
    """
    client = shared_client(RewardClient, url, model)
    return one_reward_each(_rollout(solution_str, extra_info, prompt_key).score(client))[0]


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    model: str | None = None,
    prompt_key: str = "prompt",
    **_: Any,
) -> float:
    """Scores one rollout; verl awaits many at a time. See `compute_score`."""
    client = shared_client(AsyncRewardClient, url, model)
    return one_reward_each(await _rollout(solution_str, extra_info, prompt_key).score(client))[0]


def _rollout(response: str, extra_info: Mapping[str, Any] | None, prompt_key: str) -> Rollouts:
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        raise InputError(
            0,
            f"its extra_info holds no {prompt_key!r}, and verl passes no prompt. Remedy: copy it there when the "
            "dataset is made, name its key with reward_kwargs.prompt_key, or use the RewardManager",
        )
    completion = response if isinstance(prompt, str) else [{"role": "assistant", "content": response}]
    return Rollouts(prompts=[prompt], completions=[completion])


def __getattr__(name: str) -> Any:
    """RewardManager is a subclass of one of verl's classes, and needs it; the functions don't."""
    if name == "RewardManager":
        from rewardserve.integrations._verl_manager import RewardManager

        return RewardManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
