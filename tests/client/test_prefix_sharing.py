"""Common prefixes are sent once to a real server, and change no reward beyond rounding."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from rewardserve import RewardClient
from rewardserve._connection import Connection
from rewardserve_server import TritonProcess
from support.calls import random_sequences
from support.checkpoints import VOCABULARY
from support.packed import random_call

Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The parents of the segments of each request that is sent."""
    requests: list[list[int]] = []
    infer = Connection.infer

    def infer_and_note(connection: Connection, request: Any, timeout: float) -> Any:
        requests.append(np.frombuffer(request.raw_input_contents[1], dtype=np.int32)[1::2].tolist())
        return infer(connection, request, timeout)

    monkeypatch.setattr(Connection, "infer", infer_and_note)
    return requests


def group(seed: int) -> list[Tokens]:
    """Responses to two prompts, in turn; a prompt itself, a twin, two strangers."""
    random = np.random.default_rng(seed)
    prompts = [random.integers(0, VOCABULARY, 60, dtype=np.int32) for _ in range(2)]
    responses = [random.integers(0, VOCABULARY, length, dtype=np.int32) for length in (1, 30, 7, 20, 40, 20)]
    sequences = [np.concatenate([prompts[item % 2], response]) for item, response in enumerate(responses)]
    return [*sequences, prompts[1], sequences[2], *random.integers(0, VOCABULARY, (2, 50), dtype=np.int32)]


@pytest.mark.parametrize(
    ("model", "shares"), [("attributes", True), ("critic", True), ("encoder", False), ("padded", False)]
)
def test_sharing_changes_no_reward(kinds_url: str, model: str, shares: bool, sent: list[list[int]]) -> None:
    sequences = group(1)
    with RewardClient(kinds_url, model=model, share_prefixes=False) as client:
        expected = client.score_tokens(sequences)
    assert list(chain(*sent)) == [0] * 10
    sent.clear()
    with RewardClient(kinds_url, model=model) as client:
        np.testing.assert_allclose(client.score_tokens(sequences), expected, **ROUNDING)
    parents = list(chain(*sent))
    # One prompt of its own, two strangers; the other prompt is a sequence, the twin is sent with its like.
    assert len(parents) == 10
    assert sum(parent > 0 for parent in parents) == (6 if shares else 0)


@pytest.mark.parametrize("seed", range(5))
def test_any_call_is_scored_as_if_each_were_alone(server: TritonProcess, client: RewardClient, seed: int) -> None:
    sequences = random_call(np.random.default_rng(seed))
    with RewardClient(server.grpc_url, share_prefixes=False) as unshared:
        np.testing.assert_allclose(client.score_tokens(sequences), unshared.score_tokens(sequences), **ROUNDING)


def test_texts_and_pairs_share(client: RewardClient, server: TritonProcess, sent: list[list[int]]) -> None:
    prompts, responses = ["Which of these is a good answer? " * 3] * 3, ["This.", "That, of course.", "This."]
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    with RewardClient(server.grpc_url, share_prefixes=False) as unshared:
        expected = unshared.score(texts)
    sent.clear()
    np.testing.assert_allclose(client.score(texts), expected, **ROUNDING)
    np.testing.assert_allclose(client.score_pairs(prompts, responses), expected, **ROUNDING)
    assert sent == [[0, 1, 2]] * 2


def test_sharing_changes_no_value(kinds_url: str, sent: list[list[int]]) -> None:
    texts = [prompt + own for own in ("yes", "no", "maybe", "") for prompt in ("a good question: " * 4, "x")]
    with RewardClient(kinds_url, model="critic", share_prefixes=False) as client:
        expected = client.values(texts)
    sent.clear()
    with RewardClient(kinds_url, model="critic") as client:
        for found, alone, tokens in zip(client.values(texts), expected, client.tokenize(texts), strict=True):
            assert found.shape == tokens.shape
            np.testing.assert_allclose(found, alone, **ROUNDING)
    assert sum(parent > 0 for parent in chain(*sent)) == 3


@pytest.mark.parametrize(("model", "requests"), [("critic", 6), ("attributes", 5)])
def test_every_instance_gets_its_share(kinds_url: str, model: str, requests: int, sent: list[list[int]]) -> None:
    """Five requests of 256 tokens would do; two instances get three each."""
    with RewardClient(kinds_url, model=model) as client:
        assert client.score_tokens(random_sequences(0, [64] * 20)).shape[0] == 20
    assert len(sent) == requests
