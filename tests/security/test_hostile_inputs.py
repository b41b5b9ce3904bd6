"""Data files and requests from a stranger cost an error of ours, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.hostile_inputs import FILES, REQUESTS
from support.limited import run_limited

TOKEN = "s3cret"


def read(path: Path) -> int:
    """As `evaluate` and `train` read preferences, or `score --input` texts."""
    if path.suffix == ".texts":
        from rewardserve.cli._jsonl import open_rows

        with open_rows(path) as rows:
            return sum(1 for _ in rows)
    from rewardserve_evaluation import read_preferences

    return len(read_preferences(path))


@pytest.mark.parametrize("name", FILES)
def test_a_file_gets_an_error_of_ours(name: str, tmp_path: Path) -> None:
    file, write, gets, message = FILES[name]
    write(tmp_path / file)
    outcome = run_limited(read, tmp_path / file)
    assert (outcome.kind, outcome.ours) == (gets, True), outcome
    assert message in outcome.text


def answer(name: str) -> tuple[int, Any]:
    """What the gateway's or the playground's application answers; nothing here gets as far as a server."""
    from fastapi.testclient import TestClient
    from rewardserve import AsyncRewardClient, RewardClient
    from rewardserve_server.gateway import GatewayOptions
    from rewardserve_server.gateway._app import create_app as gateway
    from rewardserve_server.playground._app import create_app as playground
    from rewardserve_server.playground._model import ServedModel

    nowhere = "127.0.0.1:1"
    app: Any = (
        gateway(AsyncRewardClient(nowhere, timeout=1), GatewayOptions(token=TOKEN))
        if name.startswith("gateway")
        else playground(ServedModel(lambda: RewardClient(nowhere, timeout=1)))
    )
    case, url = REQUESTS[name], "http://127.0.0.1:8080"
    headers = {"Content-Type": "application/json", "Origin": url, "Authorization": f"Bearer {TOKEN}"} | case.headers
    http = TestClient(app, base_url=url)
    method = "GET" if case.body is None else "POST"
    response = http.request(method, url + case.path, content=case.body, headers=headers)
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_gets_an_answer_that_says_no(name: str) -> None:
    outcome = run_limited(answer, name)
    status = REQUESTS[name].status
    assert (outcome.kind, outcome.text) == ("returned", f"({status}, {status})"), outcome
    assert outcome.seconds < 5
