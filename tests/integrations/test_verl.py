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
def verl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """verl's loader of custom functions and managers; skips without verl."""
    monkeypatch.setenv("VERL_LOGGING_LEVEL", "ERROR")
    return pytest.importorskip("verl.trainer.ppo.reward", reason="verl isn't installed", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["manager", "compute_score", "compute_score_async"])
def test_verl_itself_takes_the_rewards(
    how: str, verl: Any, chat_url: str, chat_client: RewardClient, policy: Path
) -> None:
    """Loaded and run by verl's own code, as its reward workers do it, several rollouts at a time."""
    from omegaconf import OmegaConf
    from verl import DataProto

    tokenizer = AutoTokenizer.from_pretrained(policy)
    path = "pkg://rewardserve.integrations.verl"
    manager: dict[str, Any] = {"source": "register", "name": "naive", "module": {"path": None}}
    if how == "manager":
        manager = {"source": "importlib", "name": "RewardManager", "module": {"path": path}}
    config = OmegaConf.create(
        {
            "reward": {
                "reward_manager": manager,
                "reward_kwargs": {"url": chat_url},
                "custom_reward_function": {
                    "path": None if how == "manager" else path,
                    "name": how,
                    "reward_kwargs": {"url": chat_url},
                },
            }
        }
    )
    ids = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in ("2", "it is two", "")]
    width = max(map(len, ids))
    data = DataProto.from_dict(
        tensors={
            "prompts": torch.tensor([[2, 0, 11]] * len(ids)),
            "responses": torch.tensor([[*row, *[2] * (width - len(row))] for row in ids]),
            "attention_mask": torch.tensor([[0, 1, 1, *[1] * len(row), *[0] * (width - len(row))] for row in ids]),
        },
        non_tensors={
            "raw_prompt": objects([PROMPT] * len(ids)),
            "data_source": objects(["sums"] * len(ids)),
            "reward_model": objects([{"ground_truth": "2"}] * len(ids)),
            "extra_info": objects([{"prompt": PROMPT} for _ in ids]),
        },
    )

    async def run() -> list[dict[str, Any]]:
        loaded = verl.load_reward_manager(config, tokenizer, reward_router_address=None, reward_model_tokenizer=None)
        return await asyncio.gather(*(loaded.run_single(data[index : index + 1]) for index in range(len(data))))

    scores = [result["reward_score"] for result in asyncio.run(run())]
    answers = [{"role": "assistant", "content": tokenizer.decode(row, skip_special_tokens=True)} for row in ids]
    expected = chat_client.score_chat([[*PROMPT, answer] for answer in answers])
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)
    rm_scores = verl.resolve_reward_manager_cls(config).assemble_rm_scores(data, scores)
    assert [rm_scores[row, len(ids[row]) - 1].item() for row in range(len(ids))] == pytest.approx(scores)


def objects(items: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
