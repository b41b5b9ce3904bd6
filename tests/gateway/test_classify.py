"""`POST /classify`, in vLLM's form, as verl's built-in reward model calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rewardserve import RewardClient
from rewardserve_export import ExportOptions, export
from rewardserve_server import ServeOptions, TritonProcess
from support.checkpoints import llama_config, save_huggingface
from transformers import LlamaForSequenceClassification

if TYPE_CHECKING:
    from conftest import Gateway, Start

LABELS = {0: "helpfulness", 1: "correctness", 2: "verbosity"}


@pytest.mark.parametrize("activation", [{"use_activation": False}, {"activation": False}, {}])
def test_as_verl_calls(gateway: Gateway, client: RewardClient, texts: list[str], activation: dict[str, bool]) -> None:
    response = gateway.post("/classify", {"model": "/models/my-reward-model", "input": texts[0], **activation})
    answer = response.json()
    reward = answer["data"][-1]["probs"][-1]
    assert reward == client.score(texts[:1])[0]
    assert abs(time.time() - answer.pop("created")) < 60
    assert answer.pop("id").startswith("classify-")
    tokens = len(client.tokenize(texts[:1])[0])
    assert answer == {
        "object": "list",
        "model": "reward",
        "data": [{"index": 0, "label": None, "probs": [reward], "num_classes": 1}],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def test_several_texts(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    answer = gateway.post("/classify", {"input": texts}).json()
    assert [item["index"] for item in answer["data"]] == list(range(len(texts)))
    assert [item["probs"] for item in answer["data"]] == [[reward] for reward in client.score(texts).tolist()]
    assert answer["usage"]["total_tokens"] == sum(map(len, client.tokenize(texts)))


def test_token_ids(gateway: Gateway, client: RewardClient) -> None:
    one = gateway.post("/classify", {"input": [5, 6, 7]}).json()
    two = gateway.post("/classify", {"input": [[5, 6, 7], [8]]}).json()
    expected = client.score_tokens([[5, 6, 7], [8]]).tolist()
    assert [item["probs"] for item in one["data"]] == [[expected[0]]]
    assert [item["probs"] for item in two["data"]] == [[reward] for reward in expected]
    assert (one["usage"]["total_tokens"], two["usage"]["total_tokens"]) == (3, 4)


def test_no_input(gateway: Gateway) -> None:
    answer = gateway.post("/classify", {"input": []}).json()
    assert (answer["data"], answer["usage"]["total_tokens"]) == ([], 0)


@pytest.mark.parametrize("name", ["use_activation", "activation"])
def test_an_activation_is_refused(gateway: Gateway, name: str) -> None:
    status, kind, message = gateway.error(gateway.post("/classify", {"input": "a text", name: True}))
    assert (status, kind) == (422, "InvalidRequest")
    assert message.startswith(f"{name}: can't be true: rewards are answered as they are")


@pytest.mark.parametrize(
    "given", [None, 3, {"text": "a"}, ["a", 3], [1, "2"], [True], [1.5], [[1], 2], [[1, "2"]], [["a text"]]]
)
def test_input_that_is_none(gateway: Gateway, given: Any) -> None:
    status, kind, message = gateway.error(gateway.post("/classify", {"input": given}))
    assert (status, kind) == (422, "InvalidRequest")
    assert message.startswith("input: must be a text, a list of texts, a list of token ids, or a list of such lists.")


def test_without_input(gateway: Gateway) -> None:
    status, _, message = gateway.error(gateway.post("/classify", {"model": "reward"}))
    assert status == 422
    assert message.startswith('input: is missing. Remedy: send a body like {"input": ')


@pytest.mark.parametrize(
    ("given", "kind", "index"),
    [
        ([[1], []], "InvalidTokensError", 1),
        ([10**30], "InvalidTokensError", 0),
        ([[1], [2, -1]], "InvalidTokensError", 1),
        ([[1] * 513], "TextTooLongError", 0),
        (["a", ""], "EmptyTextError", 1),
        ("", "EmptyTextError", 0),
    ],
)
def test_items_that_cannot_be_scored(gateway: Gateway, given: Any, kind: str, index: int) -> None:
    response = gateway.post("/classify", {"input": given})
    assert gateway.error(response)[:2] == (422, kind)
    assert response.json()["error"]["index"] == index


@pytest.fixture(scope="module")
def several_labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model with three labels."""
    directory = tmp_path_factory.mktemp("labels")
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(llama_config(num_labels=3, id2label=LABELS))
    torch.nn.init.normal_(model.score.weight)
    repository = directory / "repository"
    export(save_huggingface(directory / "checkpoint", model), ExportOptions(repository=repository, max_length=64))
    with TritonProcess(ServeOptions(repository=repository, grpc_port=0, http_port=0, metrics_port=0)) as server:
        server.wait_until_ready()
        yield server.grpc_url


def test_a_model_with_several_labels(start: Start, several_labels: str) -> None:
    gateway = start(several_labels)
    with RewardClient(several_labels) as client:
        rewards = client.score(["a good answer", "a bad one"])
    answer = gateway.post("/classify", {"input": ["a good answer", "a bad one"]}).json()
    assert np.array_equal(np.array([item["probs"] for item in answer["data"]], dtype=np.float32), rewards)
    assert [item["label"] for item in answer["data"]] == [LABELS[index] for index in rewards.argmax(axis=1).tolist()]
    assert {item["num_classes"] for item in answer["data"]} == {3}
    status, kind, message = gateway.error(gateway.post("/get_reward", {"query": ["a good answer"]}))
    assert (status, kind) == (502, "ContractError")
    assert "helpfulness, correctness, verbosity" in message
