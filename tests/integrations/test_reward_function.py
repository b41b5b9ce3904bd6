"""Rewards for GRPOTrainer: TRL's own trainer, and what it would call."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import pickle
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rewardserve import AsyncRewardClient, ContractError, RewardClient, ServerError
from rewardserve.integrations.trl import RewardFunction, UnscoredWarning
from support.chat_templates import chat
from support.trainers import trl_rows
from transformers import AutoTokenizer, LlamaForSequenceClassification

EXAMPLE = Path(__file__).parents[2] / "examples" / "grpo.py"
LONG = "long " * 600
PROMPTS = ["the reward of ", "a good ", "is higher "]
COMPLETIONS = ["a good answer", "answer", "than that"]
CHATS = [chat("a good question"), chat("hi", "hello", "how are you?"), chat("1 + 1?")]
ANSWERS = [chat("", answer)[1:] for answer in ("an answer", "fine", "2")]
TURNS = [[*prompt, *answer] for prompt, answer in zip(CHATS, ANSWERS, strict=True)]


@pytest.fixture(scope="module")
def grpo() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("grpo", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL's and its dependencies' imports
        spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:'pin_memory' argument")
@pytest.mark.parametrize("kind", [RewardClient, AsyncRewardClient])
def test_the_trainers_log_holds_the_rewards(
    kind: type[RewardClient | AsyncRewardClient],
    grpo: ModuleType,
    chat_url: str,
    chat_client: RewardClient,
    chat_model: LlamaForSequenceClassification,
    chat_checkpoint: Path,
    policy: Path,
    tmp_path: Path,
) -> None:
    completions = grpo.train(str(policy), kind(chat_url), steps=2, output=tmp_path)
    assert completions["step"].tolist() == [1] * 8 + [2] * 8
    assert len(set(completions["reward"])) > 8
    assert grpo.compare(completions, chat_client) == 0
    tokenizer = AutoTokenizer.from_pretrained(chat_checkpoint)
    for prompt, completion, reward in completions[["prompt", "completion", "reward"]].itertuples(index=False):
        ids = tokenizer.apply_chat_template([*prompt, *completion])["input_ids"]
        assert reward == pytest.approx(in_process(chat_model, ids), abs=1e-5)


def in_process(model: LlamaForSequenceClassification, ids: list[int]) -> float:
    with torch.no_grad():
        return model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1]).item()


def call(client: RewardClient | AsyncRewardClient, prompts: list[Any], completions: list[Any]) -> list[float | None]:
    """As TRL does it."""
    columns: dict[str, Any] = {"completion_ids": [[1]] * len(prompts), "trainer_state": None, "difficulty": [1, 2, 3]}
    rewards: Any = RewardFunction(client)(prompts=prompts, completions=completions, **columns)
    if not inspect.isawaitable(rewards):
        return rewards

    async def wait() -> list[float | None]:
        return await rewards

    return asyncio.run(wait())


@pytest.fixture(params=[RewardClient, AsyncRewardClient])
def either_client(request: pytest.FixtureRequest, chat_url: str) -> RewardClient | AsyncRewardClient:
    return request.param(chat_url)


def test_texts_get_the_score_that_they_had_in_training(
    either_client: RewardClient, chat_model: LlamaForSequenceClassification, chat_checkpoint: Path
) -> None:
    """The reference is how TRL's RewardTrainer itself makes tokens of the same rows."""
    rows = [
        {"prompt": prompt, "chosen": completion, "rejected": "bad"}
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    trained_on = [ids for ids, _ in trl_rows(AutoTokenizer.from_pretrained(chat_checkpoint), rows, 512)]
    expected = [in_process(chat_model, ids) for ids in trained_on]
    rewards = call(either_client, PROMPTS, COMPLETIONS)
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert {type(reward) for reward in rewards} == {float}


def test_conversations_are_joined(either_client: RewardClient, chat_client: RewardClient) -> None:
    assert call(either_client, CHATS, ANSWERS) == pytest.approx(chat_client.score_chat(TURNS).tolist())


def test_a_completion_that_cannot_be_scored_has_no_reward(
    either_client: RewardClient, chat_client: RewardClient
) -> None:
    message = r"^2 of 4 completions have no reward \(1 TextTypeError, 1 TextTooLongError\); item 1: holds a lone surrog"
    with pytest.warns(UnscoredWarning, match=message) as caught:
        rewards = call(either_client, [*PROMPTS, "a"], [COMPLETIONS[0], "\ud83d", LONG, "b"])
    assert len(caught) == 1
    assert rewards[1:3] == [None, None]
    first, last = chat_client.score([PROMPTS[0] + COMPLETIONS[0], "ab"])
    assert [rewards[0], rewards[3]] == pytest.approx([first, last])


def test_a_conversation_that_cannot_be_scored_has_no_reward(
    either_client: RewardClient, chat_client: RewardClient
) -> None:
    message = (
        r"^2 of 3 completions have no reward \(1 TextTooLongError, 1 ChatError\); item 0: has \d+ tokens, .* Remedy"
    )
    with pytest.warns(UnscoredWarning, match=message):
        rewards = call(either_client, CHATS, [chat("", LONG)[1:], ANSWERS[1], [{"role": "assistant"}]])
    assert rewards == [None, pytest.approx(chat_client.score_chat([TURNS[1]])[0]), None]


def test_none_of_them_may_have_one(either_client: RewardClient) -> None:
    with pytest.warns(UnscoredWarning, match="2 of 2 completions"):
        assert call(either_client, ["", ""], [LONG, LONG]) == [None, None]
    assert call(either_client, [], []) == []


def test_a_server_that_fails_is_an_error(either_client: RewardClient) -> None:
    call(either_client, PROMPTS, COMPLETIONS)
    closed = either_client.close()
    if inspect.isawaitable(closed):
        asyncio.run(_wait(closed))
    with pytest.raises(ServerError):
        call(either_client, PROMPTS, COMPLETIONS)


async def _wait(awaitable: Any) -> None:
    await awaitable


def test_trl_sees_what_it_is(chat_url: str) -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    synchronous = RewardFunction(RewardClient(chat_url), name="helpfulness")
    asynchronous = RewardFunction(AsyncRewardClient(chat_url))
    assert (is_async_callable(synchronous), is_async_callable(asynchronous)) == (False, True)
    assert (get_callable_name(synchronous), get_callable_name(asynchronous)) == ("helpfulness", "rewardserve")
    assert isinstance(synchronous, RewardFunction)
    assert isinstance(asynchronous, RewardFunction)


def test_it_may_be_pickled(either_client: RewardClient) -> None:
    """TRL's asynchronous trainers send reward functions to other processes."""
    copy = pickle.loads(pickle.dumps(RewardFunction(either_client, name="helpfulness")))
    assert copy.__name__ == "helpfulness"
    assert inspect.iscoroutinefunction(copy.__call__) == isinstance(either_client, AsyncRewardClient)


def test_several_labels_are_no_reward() -> None:
    from rewardserve.integrations._rollouts import one_reward_each

    with pytest.raises(ContractError, match=r"answers 3 labels .* Remedy"):
        one_reward_each(np.zeros((2, 3), dtype=np.float32))
