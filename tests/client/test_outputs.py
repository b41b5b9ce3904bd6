"""Heads with several outputs, values at every token, encoders: exported, served, scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve import ContractError, RewardClient
from rewardserve_export.checkpoint import load_reward_model, open_checkpoint
from rewardserve_export.graph import GraphLimits
from rewardserve_export.parity import compare, parity_sequences, transformers_scorer
from support.checkpoints import VOCABULARY
from transformers import BertForSequenceClassification

SEQUENCES = parity_sequences(GraphLimits(vocab_size=VOCABULARY, max_length=256, max_request_tokens=256))
TEXTS = ["a good answer", "the reward of a bad one, at some length", "x"]


def test_several_labels_give_a_row_each(kinds_url: str, kinds: dict[str, Path]) -> None:
    model = load_reward_model(open_checkpoint(kinds["attributes"]))
    with RewardClient(kinds_url, model="attributes") as client:
        assert client.contract.labels == ("helpfulness", "correctness", "verbosity")
        assert client.score(TEXTS).shape == (3, 3)
        assert client.score([]).shape == (0, 3)
        assert compare(transformers_scorer(model), client.score_tokens, SEQUENCES).largest < 1e-5


def test_an_encoder_is_scored_at_its_first_token(kinds_url: str, kinds: dict[str, Path]) -> None:
    reference = BertForSequenceClassification.from_pretrained(kinds["encoder"]).eval()
    with RewardClient(kinds_url, model="encoder") as client, torch.inference_mode():
        assert (client.contract.scored_token, client.contract.bidirectional) == ("first", True)
        expected = [reference(torch.tensor(tokens[None], dtype=torch.long)).logits.item() for tokens in SEQUENCES]
        np.testing.assert_allclose(client.score_tokens(SEQUENCES), expected, atol=1e-5)


def test_a_model_that_pads_keeps_the_wire_contract(kinds_url: str, kinds: dict[str, Path]) -> None:
    model = load_reward_model(open_checkpoint(kinds["padded"]))
    with RewardClient(kinds_url, model="padded") as client:
        assert client.contract.padded
        assert compare(transformers_scorer(model), client.score_tokens, SEQUENCES).largest < 1e-5
        # One call, many lengths, several runs: the padding counts.
        many = [SEQUENCES[index % len(SEQUENCES)] for index in range(40)]
        assert compare(transformers_scorer(model), client.score_tokens, many).largest < 1e-5


def test_values_end_in_the_reward(kinds_url: str, kinds: dict[str, Path]) -> None:
    model = load_reward_model(open_checkpoint(kinds["critic"]))
    with RewardClient(kinds_url, model="critic") as client, torch.inference_mode():
        values, tokens, rewards = client.values(TEXTS), client.tokenize(TEXTS), client.score(TEXTS)
        for value, ids, reward in zip(values, tokens, rewards, strict=True):
            states = model.backbone(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).last_hidden_state[0]
            np.testing.assert_allclose(value, model.head(states).numpy(), atol=1e-5)
            assert abs(value[-1] - reward) < 1e-6
        assert client.values([]) == []
        for value, same in zip(values, client.values_tokens([ids.tolist() for ids in tokens]), strict=True):
            np.testing.assert_allclose(same, value, rtol=0, atol=1e-5)


def test_a_model_without_values_says_so(kinds_url: str) -> None:
    with RewardClient(kinds_url, model="encoder") as client, pytest.raises(ContractError, match="--values"):
        client.values(TEXTS)
    with RewardClient(kinds_url, model="encoder") as client, pytest.raises(ContractError, match="--values"):
        client.values_tokens([[1, 2]])
