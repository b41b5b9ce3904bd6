"""Conversations and pairs, scored by a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardserve import (
    AsyncRewardClient,
    ChatError,
    ChatTemplateError,
    DoubledBosError,
    EmptyTextError,
    InputError,
    RewardClient,
    TextTooLongError,
    TextTypeError,
)
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.chat_templates import CONVERSATIONS, LLAMA3, chat, save_chat_template
from support.checkpoints import save_huggingface
from transformers import AutoTokenizer, LlamaForSequenceClassification

NAMES = ["one turn", "system", "many turns", "unicode", "empty contents", "spaces and newlines", "markup"]
MAX_LENGTH = 512


@pytest.fixture(scope="module")
def chat_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template writes BOS, and its tokenizer would add another."""
    directory = save_huggingface(tmp_path_factory.mktemp("checkpoint"), bos=True)
    save_chat_template(directory, LLAMA3)
    return directory


@pytest.fixture(scope="module")
def chat_client(chat_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RewardClient]:
    repository = tmp_path_factory.mktemp("repository")
    export(chat_checkpoint, ExportOptions(repository=repository, max_length=MAX_LENGTH, tokenization="trl"))
    options = ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)
    with TritonProcess(options) as process:
        process.wait_until_ready()
        with RewardClient(process.grpc_url) as client:
            yield client


def test_the_contract_carries_the_template(chat_client: RewardClient) -> None:
    rules = chat_client.contract.tokenization
    assert rules.chat_template == LLAMA3
    assert (rules.bos_token, rules.adds_bos, rules.add_special_tokens) == ("<s>", True, True)
    assert (rules.eos_suffix, rules.pair_separator, rules.chat_as_text) == ("</s>", "", False)
    assert dict(rules.template_tokens) == {"pad_token": "<pad>"}


def test_conversations_get_the_score_of_transformers(chat_client: RewardClient, chat_checkpoint: Path) -> None:
    conversations = [CONVERSATIONS[name] for name in NAMES]
    tokenizer = AutoTokenizer.from_pretrained(chat_checkpoint)
    model = LlamaForSequenceClassification.from_pretrained(chat_checkpoint).eval()
    rewards = chat_client.score_chat(conversations)
    assert (rewards.shape, rewards.dtype) == ((len(NAMES),), np.float32)
    for conversation, reward in zip(conversations, rewards, strict=True):
        ids = tokenizer.apply_chat_template(conversation)["input_ids"]
        assert ids.count(0) - 1 == str(conversation).count("<s>"), "BOS is there once"
        with torch.no_grad():
            expected = model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1])
        assert reward == pytest.approx(expected.item(), abs=1e-5)
        assert reward == pytest.approx(chat_client.score_tokens([ids])[0], abs=1e-5)


def test_the_tokens_of_conversations(chat_client: RewardClient) -> None:
    conversations = [CONVERSATIONS[name] for name in NAMES]
    tokens = [ids.tolist() for ids in chat_client.tokenize_chat(conversations)]
    np.testing.assert_allclose(chat_client.score_tokens(tokens), chat_client.score_chat(conversations), atol=1e-5)

    async def others() -> tuple[list[list[int]], list[list[str]]]:
        async with AsyncRewardClient(chat_client._options.url) as client:
            return [ids.tolist() for ids in await client.tokenize_chat(conversations)], await client.token_texts(tokens)

    assert asyncio.run(others()) == (tokens, chat_client.token_texts(tokens))


def test_pairs_are_texts(chat_client: RewardClient) -> None:
    prompts, responses = ["a good ", "", "a bad"], ["answer", "the reward", ""]
    together = chat_client.score(["a good answer", "the reward", "a bad"])
    assert np.allclose(chat_client.score_pairs(prompts, responses), together, atol=1e-6)
    assert chat_client.score_pairs(np.array(prompts), np.array(responses)) == pytest.approx(together, abs=1e-6)


def test_nothing_is_scored_for_nothing(chat_client: RewardClient) -> None:
    for rewards in (chat_client.score_chat([]), chat_client.score_pairs([], [])):
        assert (rewards.shape, rewards.dtype) == ((0,), np.float32)


def test_a_rendered_conversation_is_refused_as_text(chat_client: RewardClient) -> None:
    """The tokenizer would put a second BOS before the template's."""
    text = "<s><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
    with pytest.raises(DoubledBosError, match=r"item 1: begins with '<s>' twice: .* adds another\. Remedy.*score_chat"):
        chat_client.score(["a", text])
    with pytest.raises(DoubledBosError) as raised:
        chat_client.score_pairs(["a", "<s>b"], ["c", "d"])
    assert raised.value.index == 1
    assert chat_client.score([text.removeprefix("<s>")]).shape == (1,)


def test_a_model_without_a_template_says_so(client: RewardClient) -> None:
    with pytest.raises(ChatTemplateError, match="without a chat template"):
        client.score_chat([chat("a", "b")])


@pytest.mark.parametrize(
    ("conversations", "error", "index"),
    [
        ([chat("a", "b"), chat("a", "b " * MAX_LENGTH)], TextTooLongError, 1),
        ([chat("a", "b"), []], ChatError, 1),
        ([chat("a", "b")[0]], ChatError, 0),
        ([chat("a\ud83d", "b")], TextTypeError, 0),
    ],
)
def test_a_bad_conversation_is_named(
    chat_client: RewardClient, conversations: Any, error: type[InputError], index: int
) -> None:
    with pytest.raises(error) as raised:
        chat_client.score_chat(conversations)
    assert raised.value.index == index


@pytest.mark.parametrize(
    ("prompts", "responses", "error", "message"),
    [
        (["a", "b"], ["c"], InputError, r"item 1: has no response: there are 2 prompts and 1 responses\. Remedy"),
        ([], ["c"], InputError, r"item 0: has no prompt: there are 0 prompts and 1 responses\. Remedy"),
        (["a", None], ["c", "d"], TextTypeError, "item 1: its prompt is of type NoneType, not a string.* Remedy"),
        (["a"], [chat("b")], TextTypeError, r"item 0: its response is of type list.* conversations to score_chat"),
        (["a", ""], ["b", ""], EmptyTextError, "item 1: is empty"),
    ],
)
def test_bad_pairs_are_named(
    chat_client: RewardClient, prompts: Any, responses: Any, error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        chat_client.score_pairs(prompts, responses)


@pytest.mark.parametrize("arguments", [("a", ["b"]), (["a"], "b"), ("a", "b")])
def test_one_string_is_no_list(chat_client: RewardClient, arguments: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a list, not one string. Remedy: pass \[text\]"):
        chat_client.score_pairs(*arguments)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_deadlines_are_checked(chat_client: RewardClient, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        chat_client.score_chat([chat("a", "b")], timeout=timeout)
    with pytest.raises(ValueError, match="timeout is"):
        chat_client.score_pairs(["a"], ["b"], timeout=timeout)
