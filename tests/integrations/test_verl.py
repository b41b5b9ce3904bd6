"""verl's custom reward function and reward manager."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rewardserve.integrations.verl as integration
import torch
from rewardserve import InputError, RewardClient
from support.chat_templates import chat
from transformers import AutoTokenizer

PROMPT = chat("1 + 1?")
ROW: dict[str, Any] = {"data_source": "sums", "solution_str": "2", "ground_truth": "2"}


def synchronous(**arguments: Any) -> float:
    return integration.compute_score(**arguments)


def asynchronous(**arguments: Any) -> float:
    return asyncio.run(integration.compute_score_async(**arguments))


@pytest.fixture(params=[synchronous, asynchronous])
def compute_score(request: pytest.FixtureRequest) -> Callable[..., float]:
    return request.param


@pytest.mark.parametrize("prompt", [PROMPT, np.array(PROMPT, dtype=object)])
def test_a_conversation_is_scored(
    prompt: Any, compute_score: Callable[..., float], chat_url: str, chat_client: RewardClient
) -> None:
    """verl reads datasets from parquet, whose lists become arrays."""
    reward = compute_score(**ROW, extra_info={"prompt": prompt, "index": 3}, url=chat_url, reward_router_address=None)
    assert type(reward) is float
    assert reward == pytest.approx(chat_client.score_chat([[*PROMPT, {"role": "assistant", "content": "2"}]])[0])


def test_a_text_is_scored(
    compute_score: Callable[..., float],
    chat_url: str,
    chat_client: RewardClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REWARDSERVE_URL", chat_url)
    reward = compute_score(**ROW, extra_info={"question": "1 + 1 = "}, model="reward", prompt_key="question")
    assert reward == pytest.approx(chat_client.score(["1 + 1 = 2"])[0])


@pytest.mark.parametrize("extra_info", [None, {}, {"question": "1 + 1 = "}])
def test_a_prompt_is_needed(extra_info: Any, compute_score: Callable[..., float], chat_url: str) -> None:
    with pytest.raises(InputError, match=r"extra_info holds no 'prompt'.* Remedy: .*prompt_key"):
        compute_score(**ROW, extra_info=extra_info, url=chat_url)


def test_what_cannot_be_scored_is_an_error(compute_score: Callable[..., float], chat_url: str) -> None:
    with pytest.raises(InputError, match="tokens"):
        compute_score(**{**ROW, "solution_str": "2 " * 600}, extra_info={"prompt": PROMPT}, url=chat_url)


def test_the_functions_need_neither_verl_nor_torch() -> None:
    code = "import sys, rewardserve.integrations.verl; print({'verl', 'torch'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        integration.Nothing  # noqa: B018


@pytest.fixture
def reward_loop() -> Any:
    """verl's module of reward workers; skips without verl."""
    return pytest.importorskip(
        "verl.experimental.reward_loop.reward_loop", reason="verl isn't installed", exc_type=ImportError
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["manager", "compute_score", "compute_score_async"])
def test_verls_reward_worker_takes_the_rewards(
    how: str, reward_loop: Any, chat_url: str, chat_client: RewardClient, policy: Path
) -> None:
    """All of it verl's own code: it loads what the configuration names, and scores rollouts at the same time."""
    config, tokenizer = verl_config(how, chat_url, policy), AutoTokenizer.from_pretrained(policy)
    responses = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in ("2", "it is two", "")]
    data = rollouts(responses)

    async def run() -> list[dict[str, Any]]:
        return await reward_loop.RewardLoopWorker(config).compute_score_batch(data)

    scores = [result["reward_score"] for result in asyncio.run(run())]
    answers = [{"role": "assistant", "content": tokenizer.decode(ids, skip_special_tokens=True)} for ids in responses]
    assert scores == pytest.approx(chat_client.score_chat([[*PROMPT, answer] for answer in answers]).tolist(), abs=1e-6)
    manager = reward_loop.resolve_reward_manager_cls(config)
    rewards = manager.assemble_rm_scores(data, scores)
    assert [rewards[row, len(ids) - 1].item() for row, ids in enumerate(responses)] == pytest.approx(scores)


def verl_config(how: str, url: str, policy: Path) -> Any:
    """verl's own configuration, with the options of docs/trainers.md."""
    from hydra import compose, initialize_config_module

    module = "pkg://rewardserve.integrations.verl"
    options = [
        f"reward.custom_reward_function.path={module}",
        f"reward.custom_reward_function.name={how}",
        f"+reward.custom_reward_function.reward_kwargs.url={url}",
        "+reward.custom_reward_function.reward_kwargs.prompt_key=prompt",
    ]
    if how == "manager":
        options = [
            "reward.reward_manager.source=importlib",
            "reward.reward_manager.name=RewardManager",
            f"reward.reward_manager.module.path={module}",
            f"+reward.reward_kwargs.url={url}",
            "+reward.reward_kwargs.model=reward",
        ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[f"actor_rollout_ref.model.path={policy}", *options])


def rollouts(responses: list[list[int]]) -> Any:
    """As verl's agent loop hands them over: prompts padded left, responses right."""
    from verl import DataProto

    width, count = max(map(len, responses)), len(responses)
    padding = [width - len(ids) for ids in responses]
    rows = list(zip(responses, padding, strict=True))
    return DataProto.from_dict(
        tensors={
            "prompts": torch.tensor([[2, 0, 11]] * count),
            "responses": torch.tensor([ids + [2] * pad for ids, pad in rows]),
            "attention_mask": torch.tensor([[0, 1, 1] + [1] * len(ids) + [0] * pad for ids, pad in rows]),
        },
        non_tensors={
            "raw_prompt": objects([PROMPT] * count),
            "data_source": objects(["sums"] * count),
            "reward_model": objects([{"ground_truth": "2"}] * count),
            "extra_info": objects([{"prompt": PROMPT} for _ in range(count)]),
        },
    )


def objects(items: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
