"""`POST /get_reward`, by OpenRLHF's rules."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
import torch
from rewardserve import RewardClient

if TYPE_CHECKING:
    from conftest import Gateway


def test_the_answer(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    response = gateway.post("/get_reward", {"query": texts, "prompts": texts, "labels": [None] * len(texts)})
    expected = client.score(texts).tolist()
    assert response.status_code == 200
    assert response.json() == {"rewards": expected, "scores": expected, "extra_logs": {}}


def test_no_query(gateway: Gateway) -> None:
    for body in ({"query": []}, {"query": [], "prompts": [], "labels": []}):
        assert gateway.post("/get_reward", body).json() == {"rewards": [], "scores": [], "extra_logs": {}}


def test_what_else_is_sent_is_not_read(gateway: Gateway, client: RewardClient) -> None:
    body = {"query": ["a text"], "prompts": 3, "labels": {"any": "thing"}, "more": [1]}
    assert gateway.post("/get_reward", body).json()["rewards"] == client.score(["a text"]).tolist()


def test_concurrent_calls_with_one_rollout_each(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    async def call_all() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
            responses = await asyncio.gather(*(http.post("/get_reward", json={"query": [text]}) for text in texts))
        return [response.json() for response in responses]

    answers = asyncio.run(call_all())
    assert [answer["rewards"] for answer in answers] == [[reward] for reward in client.score(texts).tolist()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "query: is missing"),
        ({"queries": ["a"]}, "query: is missing"),
        ({"query": None}, "query: must be a list"),
        ({"query": "a text"}, "query: must be a list"),
        ({"query": {"0": "a"}}, "query: must be a list"),
        ({"query": ["a", 3]}, "query[1]: must be a string"),
        ({"query": ["a", None, "b", ["c"]]}, "query[1]: must be a string"),
        (
            {"query": [0] * 5},
            "query[0]: must be a string",
        ),
        ([], "the body: must be an object"),
        (["a text"], "the body: must be an object"),
        ("a text", "the body: must be an object"),
    ],
)
def test_bodies_that_are_none(gateway: Gateway, body: Any, message: str) -> None:
    status, kind, text = gateway.error(gateway.post("/get_reward", body))
    assert (status, kind) == (422, "InvalidRequest")
    assert text.startswith(f"{message}. Remedy: send a body like ")
    assert json.loads(text.partition("like ")[2])["query"]


@pytest.mark.parametrize("content", [b"", b"{", b"query=a", b'{"query": ["a"', b"\xff\xfe", b'{"query": ["\\ud8"]}'])
def test_bodies_that_are_no_json(gateway: Gateway, content: bytes) -> None:
    response = gateway.post("/get_reward", content=content, headers={"Content-Type": "application/json"})
    status, kind, text = gateway.error(response)
    assert (status, kind) == (422, "InvalidRequest")
    assert "the body: " in text
    assert "Remedy: send a body like" in text


def test_a_body_that_is_nested_too_deeply(gateway: Gateway) -> None:
    response = gateway.post("/get_reward", content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    assert gateway.error(response) == (400, "HTTPError", "There was an error parsing the body")


def test_a_body_that_is_not_called_json(gateway: Gateway) -> None:
    content = b'{"query": ["a text"]}'
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        status, kind, text = gateway.error(gateway.post("/get_reward", content=content, headers=headers))
        assert (status, kind) == (415, "UnsupportedMediaType")
        assert "with Content-Type: application/json" in text


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        ("", "EmptyTextError", "Remedy"),
        ("too long " * 600, "TextTooLongError", "Remedy"),
        ("\ud800", "TextTypeError", "surrogate"),
    ],
)
def test_a_text_that_cannot_be_scored(gateway: Gateway, bad: str, kind: str, reason: str) -> None:
    content = json.dumps({"query": ["good", "good", bad]}).encode()
    response = gateway.post("/get_reward", content=content, headers={"Content-Type": "application/json"})
    status, found, message = gateway.error(response)
    assert (status, found) == (422, kind)
    assert reason in message
    assert response.json()["error"]["index"] == 2
    assert message.startswith("item 2: ")


def test_other_methods_and_paths(gateway: Gateway) -> None:
    assert gateway.error(gateway.http.get("/get_reward"))[0] == 405
    assert gateway.error(gateway.post("/", {"query": []}))[0] == 404


def test_as_openrlhf_0_4_to_0_7_call(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    """One batch a call; `rewards` becomes a tensor."""
    for body in (
        {"query": texts},
        {"query": texts, "prompts": texts},
        {"query": texts, "prompts": texts, "labels": texts},
    ):
        response = gateway.post("/get_reward", body)
        response.raise_for_status()
        rewards = torch.tensor(response.json()["rewards"])
        assert torch.equal(rewards, torch.from_numpy(client.score(texts)))


def test_as_openrlhf_0_8_calls(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    """A batch is cut over several URLs, some get nothing; what comes back is joined, whatever `extra_logs` holds."""
    queries = texts[:2]
    parts = [queries[:1], queries[1:], []]
    answers = [gateway.post("/get_reward", {"query": part, "prompts": part, "labels": part}).json() for part in parts]
    for key in ("rewards", "scores"):
        joined = torch.cat([torch.as_tensor(answer[key]) for answer in answers])
        assert torch.equal(joined, torch.from_numpy(client.score(queries)))
    logs = {key: torch.cat([answer["extra_logs"][key] for answer in answers]) for key in answers[0]["extra_logs"]}
    assert logs == {}


def test_as_openrlhf_0_9_calls(gateway: Gateway, client: RewardClient, texts: list[str]) -> None:
    """One rollout a call, each in a session of its own, all at once; the first answer's fields become tensors."""

    async def call(text: str) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=180)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                f"{gateway.url}/get_reward", json={"query": [text], "prompts": ["the"], "labels": [None]}
            ) as response,
        ):
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    async def call_all() -> list[dict[str, Any]]:
        return await asyncio.gather(*map(call, texts))

    answers = asyncio.run(call_all())
    for field in ("rewards", "scores"):
        found = torch.tensor([[answer[field]] for answer in answers])
        assert torch.equal(found.flatten(), torch.from_numpy(client.score(texts)))
    assert all(not answer["extra_logs"] for answer in answers)
