"""Scores over gRPC, from a real server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardserve import EmptyTextError, InputError, RewardClient, TextTooLongError, TextTypeError, TruncationWarning
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits
from rewardserve_export.parity import compare, parity_sequences, transformers_scorer
from rewardserve_server import TritonProcess
from support.calls import random_sequences, statistics
from support.contracts import pretended

TEXTS = ["a good answer", "a bad one", "the reward of " * 30, "x", "naïve 漢字 🙂", "a good answer"] * 20


def test_scores_are_those_of_transformers(client: RewardClient, checkpoint: Path) -> None:
    model = load_reward_model(open_checkpoint(checkpoint))
    sequences = parity_sequences(GraphLimits(vocab_size=400, max_length=512, max_request_tokens=600))
    assert compare(transformers_scorer(model), client.score_tokens, sequences).largest < 1e-5


def test_no_text_gives_no_reward(client: RewardClient) -> None:
    assert client.score([]).shape == (0,)
    assert client.score([]).dtype == np.float32
    assert client.score_tokens([]).shape == (0,)
    assert client.score_tokens([]).dtype == np.float32


def test_rewards_come_in_the_order_of_the_texts(client: RewardClient) -> None:
    rewards = client.score(TEXTS)
    assert rewards.shape == (len(TEXTS),)
    assert rewards.dtype == np.float32
    assert len(set(rewards.tolist())) == 5
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert np.array_equal(client.score([TEXTS[item] for item in order]), rewards[order])
    assert np.array_equal([client.score([text])[0] for text in TEXTS[:6]], rewards[:6])


def test_more_requests_than_are_sent_at_once(server: TritonProcess) -> None:
    distinct = random_sequences(1, [300, 7, 512, 1, 90])
    with RewardClient(server.grpc_url, share_prefixes=False) as client:
        few = client.score_tokens(distinct)
        many = client.score_tokens([distinct[item % 5] for item in range(500)])
    assert np.array_equal(many, np.tile(few, 100))


def test_texts_are_scored_by_their_tokens(client: RewardClient, checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(checkpoint)(TEXTS)["input_ids"]
    assert np.array_equal(client.score(TEXTS), client.score_tokens(ids))


@pytest.mark.parametrize("sequence", [(5, 6, 7), np.array([5, 6, 7]), np.array([5, 6, 7], dtype=np.uint8), range(5, 8)])
def test_any_sequence_of_integers_is_one(client: RewardClient, sequence: Any) -> None:
    assert client.score_tokens([sequence]) == client.score_tokens([[5, 6, 7]])


def test_the_longest_sequence_fits(client: RewardClient) -> None:
    sequences = random_sequences(2, [512, 512, 88, 512])
    assert np.isfinite(client.score_tokens(sequences)).all()


@pytest.mark.parametrize("text", ["one text", ""])
def test_one_string_instead_of_a_list(client: RewardClient, text: str) -> None:
    with pytest.raises(TypeError, match=r"not one string\. Remedy: pass \[text\]"):
        client.score(text)


@pytest.fixture
def nothing_was_sent(stub: Any) -> Callable[[], bool]:
    before = statistics(stub).inference_stats
    return lambda: statistics(stub).inference_stats == before


@pytest.mark.parametrize(
    ("item", "error"),
    [("", EmptyTextError), (None, TextTypeError), (["nested"], TextTypeError), ("long " * 512, TextTooLongError)],
)
def test_a_text_that_cant_be_scored(
    client: RewardClient, nothing_was_sent: Callable[[], bool], item: Any, error: type[InputError]
) -> None:
    with pytest.raises(error, match=r"^item 150: .*Remedy") as raised:
        client.score(["a good answer " * 10] * 150 + [item, "a bad one"])
    assert raised.value.index == 150
    assert nothing_was_sent()


def test_the_truncation_warning_points_at_the_caller(client: RewardClient) -> None:
    rules = dataclasses.replace(client.contract.tokenization, max_length=4, truncation="right")
    client._session.contract = pretended(client.contract, tokenization=rules)
    with pytest.warns(TruncationWarning, match="items 1") as caught:
        rewards = client.score(["abcd", "abcdefgh"])
    assert [warning.filename for warning in caught] == [__file__]
    assert rewards[0] == rewards[1], "both are scored by their first four letters"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none(server: TritonProcess, client: RewardClient, timeout: float) -> None:
    with pytest.raises(ValueError, match=rf"timeout is {timeout}\. Remedy"):
        RewardClient(server.grpc_url, timeout=timeout)
    with pytest.raises(ValueError, match=rf"timeout is {timeout}\. Remedy"):
        client.score(["a text"], timeout=timeout)
    with pytest.raises(ValueError, match=rf"timeout is {timeout}\. Remedy"):
        client.score_tokens([[1]], timeout=timeout)
