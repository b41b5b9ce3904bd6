"""Whom the gateway lets in, and how much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
from rewardserve_server import TritonProcess
from rewardserve_server.gateway import GatewayOptions

if TYPE_CHECKING:
    from conftest import Gateway

TOKEN = "s3cret-of/the+gateway"
BODY = {"query": ["a text"]}


@pytest.fixture(scope="module")
def guarded(server: TritonProcess, gateway: Gateway) -> Iterator[Gateway]:
    found = type(gateway)(server.grpc_url, "--max-body", "1", token=TOKEN)
    yield found
    found.stop()


def test_the_token(guarded: Gateway) -> None:
    for scheme in ("Bearer", "bearer"):
        assert guarded.post("/get_reward", BODY, headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_the_token_in_the_url(guarded: Gateway) -> None:
    """As a trainer that sends no header of its own can have it."""
    assert guarded.post("/get_reward", BODY, auth=("trainer", TOKEN)).status_code == 200
    url = guarded.url.replace("://", f"://trainer:{TOKEN.replace('/', '%2F')}@")

    async def call() -> int:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/get_reward", json=BODY) as response:
            return response.status

    assert asyncio.run(call()) == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        TOKEN,
        f"Token {TOKEN}",
        "Basic !",
        "Basic dHJhaW5lcjp3cm9uZw==",
        "Bearer \xe9",
    ],
)
def test_without_the_token(guarded: Gateway, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for path in ("/get_reward", "/classify", "/metrics", "/openapi.json", "/nothing"):
        response = guarded.post(path, BODY, headers=headers)
        status, kind, message = guarded.error(response)
        assert (status, kind) == (401, "Unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in message


def test_health_needs_no_token(guarded: Gateway) -> None:
    assert guarded.http.get("/health").json() == {"status": "ready", "model": "reward"}


def test_what_it_prints_with_a_token(guarded: Gateway) -> None:
    assert "-H 'Authorization: Bearer TOKEN'" in guarded.lines[-1]
    assert TOKEN not in "\n".join(guarded.lines)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit(guarded: Gateway, announced: bool) -> None:
    content = b'{"query": ["' + b"a" * (1 << 20) + b'"]}'

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(content), 1 << 16):
            yield content[begin : begin + (1 << 16)]

    async def call() -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=guarded.url, headers=headers) as http:
            return await http.post("/get_reward", content=content if announced else pieces())

    status, _, message = guarded.error(asyncio.run(call()))
    assert status == 413
    assert message == "the body is larger than 1048576 bytes. Remedy: send fewer texts at once"


@pytest.mark.parametrize(
    "values",
    [
        {"host": "localhost"},
        {"port": -1},
        {"port": 65536},
        {"token": ""},
        {"token": "two words"},
        {"token": "é"},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"max_body_bytes": 0},
        {"max_concurrent": 0},
    ],
)
def test_options_without_a_valid_value(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        GatewayOptions(**values)  # type: ignore[arg-type]
