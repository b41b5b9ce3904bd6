"""What the page is told: the rewards that RewardClient gives, and our errors as they are."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from rewardserve import RewardClient, ServerError
from rewardserve_evaluation import evaluate, read_preferences
from rewardserve_server.playground._app import create_app
from rewardserve_server.playground._model import ServedModel

if TYPE_CHECKING:
    from conftest import Playground

PROMPT, RESPONSES = "What is 2 + 2? ", ["It is 4.", "It is 5, 你好.", "It is"]


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    assert error["code"] == response.status_code
    return response.status_code, error["type"], error["message"]


def test_the_model(playground: Playground, own_client: RewardClient) -> None:
    model = playground.http.get("/api/model").json()
    assert (model["model"], model["version"], model["chat"], model["values"]) == ("reward", "1", True, True)
    assert (model["max_length"], model["labels"], model["pairs"]) == (256, None, "three pairs.jsonl")
    assert model["architecture"] == own_client.contract.architecture


@pytest.mark.parametrize("prompt", [PROMPT, ""])
def test_responses_to_a_prompt(playground: Playground, own_client: RewardClient, prompt: str) -> None:
    results = playground.score({"prompt": prompt, "responses": RESPONSES})
    rewards = [result["rewards"] for result in results]
    expected = own_client.score_pairs([prompt] * 3, RESPONSES)
    np.testing.assert_allclose(rewards, expected[:, None], rtol=0, atol=1e-5)
    for result, response, values in zip(
        results, RESPONSES, own_client.values([prompt + response for response in RESPONSES]), strict=True
    ):
        assert "".join(token["text"] for token in result["tokens"]) == prompt + response
        np.testing.assert_allclose([token["value"] for token in result["tokens"]], values, rtol=0, atol=1e-5)


def test_conversations(playground: Playground, own_client: RewardClient) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    results = playground.score({"messages": messages, "responses": RESPONSES})
    conversations = [[*messages, {"role": "assistant", "content": response}] for response in RESPONSES]
    np.testing.assert_allclose(
        [result["rewards"][0] for result in results], own_client.score_chat(conversations), rtol=0, atol=1e-5
    )
    for result in results:
        assert abs(result["tokens"][-1]["value"] - result["rewards"][0]) < 1e-5
        assert result["tokens"][0]["text"] == "<s>"


def test_a_model_with_labels_and_without_values(with_labels: Playground, served: str) -> None:
    (result,) = with_labels.score({"responses": RESPONSES[:1]})
    with RewardClient(served, model="labels") as client:
        np.testing.assert_allclose(result["rewards"], client.score(RESPONSES[:1])[0], rtol=0, atol=1e-5)
    assert {token["value"] for token in result["tokens"]} == {None}


def test_pairs(playground: Playground, own_client: RewardClient, pairs_file: Path) -> None:
    given = playground.http.post("/api/pairs", json={}).json()
    uploaded = playground.http.post("/api/pairs", json={"content": pairs_file.read_text()}).json()
    expected = evaluate(read_preferences(pairs_file), own_client)
    for found in (given, uploaded):
        assert (found["rows"], found["cut"], found["skipped"]) == (3, False, 0)
        assert found["accuracy"]["correct"] == expected.accuracy.correct
        assert set(found["subsets"]) == set(expected.subsets)
        margins = [row["margin"] for row in found["table"]]
        np.testing.assert_allclose(margins, [row.margin for row in expected.scored], rtol=0, atol=1e-5)
    first = given["table"][0]
    assert (first["line"], first["subset"], first["chosen"][0]["prompt"]) == (1, "sums", PROMPT)
    assert [answer["response"] for answer in first["chosen"] + first["rejected"]] == ["It is 4.", "It is 5."]


def test_pairs_as_conversations(playground: Playground, own_client: RewardClient) -> None:
    row = {"prompt": PROMPT, "chosen": ["It is 4.", "Four."], "rejected": "It is 5."}
    found = playground.http.post("/api/pairs", json={"content": json.dumps(row), "chat": True}).json()
    (shown,) = found["table"]
    assert shown["chosen"][1]["messages"] == [{"role": "user", "content": PROMPT}]
    conversation = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "Four."}]
    assert abs(shown["chosen"][1]["reward"] - own_client.score_chat([conversation])[0]) < 1e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"chosen": "a", "rejected": "b"}\n{"chosen": "a"}', "pairs.jsonl, line 2, field `rejected`: is missing."),
        ("", "pairs.jsonl: holds no row."),
        ("\ud800", "pairs.jsonl: isn't UTF-8"),
    ],
)
def test_wrong_pairs(playground: Playground, content: str, message: str) -> None:
    body = json.dumps({"content": content}).encode()
    response = playground.http.post("/api/pairs", content=body, headers={"Content-Type": "application/json"})
    status, kind, found = error_of(response)
    assert (status, kind) == (422, "PreferencesError")
    assert found.startswith(message)


def test_a_row_that_cannot_be_scored(with_labels: Playground, playground: Playground) -> None:
    conversation = [{"role": "assistant", "content": "a"}]
    content = json.dumps({"chosen": conversation, "rejected": conversation})
    response = with_labels.http.post("/api/pairs", json={"content": content})
    status, kind, message = error_of(response)
    assert (status, kind) == (502, "EvaluationInterruptedError")
    assert "0 of 1 rows are scored" in message
    long = json.dumps({"chosen": "word " * 300, "rejected": "b"}) + '\n{"chosen": "a", "rejected": "b"}'
    found = playground.http.post("/api/pairs", json={"content": long}).json()
    assert (found["rows"], found["skipped"], len(found["table"])) == (2, 1, 1)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({"responses": ["a", ""]}, "EmptyTextError", "item 1: is empty"),
        ({"responses": ["word " * 300]}, "TextTooLongError", "item 0: has "),
        ({"responses": []}, "InvalidRequest", "responses: "),
        ({"prompt": "a"}, "InvalidRequest", "responses: is missing"),
    ],
)
def test_responses_that_cannot_be_scored(playground: Playground, body: Any, kind: str, message: str) -> None:
    status, found_kind, found = error_of(playground.http.post("/api/score", json=body))
    assert (status, found_kind) == (422, kind)
    assert found.startswith(message)
    assert "Remedy: " in found


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    alone = TestClient(create_app(ServedModel(lambda: RewardClient(f"127.0.0.1:{port}"))), base_url="http://localhost")
    alone.headers["Origin"] = "http://localhost"
    for response in (alone.get("/api/model"), alone.post("/api/score", json={"responses": ["a"]})):
        status, kind, message = error_of(response)
        assert (status, kind) == (503, "ServerUnavailableError")
        assert f"127.0.0.1:{port}" in message


def test_a_client_that_failed_is_replaced(served: str) -> None:
    urls = iter(["127.0.0.1:1", served, served])
    model = ServedModel(lambda: RewardClient(next(urls)))
    with pytest.raises(ServerError), model.client():
        pass
    with pytest.raises(ValueError, match="is empty"), model.client() as first:
        first.score([""])
    with pytest.raises(ServerError), model.client() as second:
        assert second is first
        second.close()
        second.score(["a"])
    with model.client() as third:
        assert third is not first
        assert third.score(["a"]).shape == (1,)
    model.close()
