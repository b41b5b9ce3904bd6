"""`reward_func` for OpenRLHF, called as its single-turn agent does it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rewardserve.integrations.openrlhf as integration
import torch
from rewardserve import InputError, RewardClient, ServerUnavailableError
from transformers import AutoTokenizer

TEXTS = ["the reward of a good answer", "is higher than that", "of a bad one"]


@pytest.fixture
def environment(chat_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDSERVE_URL", chat_url)
    monkeypatch.setenv("REWARDSERVE_MODEL", "reward")


def load() -> Callable[..., dict[str, torch.Tensor]]:
    """From the file, under a name of its own, as `--reward.remote_url FILE` does it."""
    assert integration.__file__ is not None
    spec = importlib.util.spec_from_file_location("reward_func", integration.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


@pytest.mark.usefixtures("environment")
def test_rewards_come_from_threads(chat_client: RewardClient) -> None:
    reward_func = load()

    async def call() -> list[dict[str, torch.Tensor]]:
        return await asyncio.gather(*(asyncio.to_thread(reward_func, [text], [""], [None]) for text in TEXTS * 8))

    answers = asyncio.run(call())
    assert {key for answer in answers for key in answer} == {"rewards"}
    # What OpenRLHF makes of a reward.
    rewards = torch.cat([torch.tensor([answer["rewards"]]) for answer in answers])
    assert rewards.shape == (len(TEXTS) * 8,)
    assert rewards.numpy() == pytest.approx(np.tile(chat_client.score(TEXTS), 8), abs=1e-6)


@pytest.mark.usefixtures("environment")
def test_a_bos_in_the_query_isnt_doubled(chat_client: RewardClient) -> None:
    """Queries are decoded with their special tokens."""
    rewards = load()(["<s>" + TEXTS[0]], [TEXTS[0]], ["label"])["rewards"]
    assert rewards.tolist() == pytest.approx(chat_client.score(TEXTS[:1]).tolist())


@pytest.mark.usefixtures("environment")
def test_what_cannot_be_scored_is_an_error() -> None:
    with pytest.raises(InputError, match="item 1"):
        load()(["a", "long " * 600], ["", ""], ["", ""])


def test_without_a_server_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDSERVE_URL", "127.0.0.1:9")
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:9"):
        load()(["a"], [""], [""])


@pytest.mark.usefixtures("environment")
def test_openrlhf_itself_takes_the_rewards(chat_client: RewardClient, policy: Path) -> None:
    """Its own executor, with an engine that has generated already."""
    agent = pytest.importorskip("openrlhf.utils.agent", reason="OpenRLHF isn't installed")
    tokenizer = AutoTokenizer.from_pretrained(policy)
    prompt, response = "the reward of ", tokenizer("a good answer")["input_ids"]

    class Engine:
        async def generate(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(outputs=[SimpleNamespace(token_ids=response, finish_reason="stop", logprobs=None)])

    executor = agent.SingleTurnAgentExecutor(integration.__file__)
    sampling = SimpleNamespace(max_tokens=16, logprobs=None)
    output = asyncio.run(executor.execute(prompt, "label", sampling, 256, tokenizer, Engine()))
    query = tokenizer.decode(output["observation_tokens"], skip_special_tokens=False)
    assert output["reward"].tolist() == output["scores"].tolist() == chat_client.score([query]).tolist()
