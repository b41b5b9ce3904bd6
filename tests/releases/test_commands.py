"""The commands, on a repository and a running server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rewardserve import ModelNotFoundError, RewardClient, ServerError
from rewardserve.cli import app
from rewardserve_server import ServerControl, TritonProcess
from support.calls import random_sequences
from support.held import held, make_holdable, wait_for_pending
from support.releases import ADMIN_KEY
from typer.testing import CliRunner


def call(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"REWARDSERVE_ADMIN_KEY": ADMIN_KEY, "COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_commands_on_a_running_server(release_repository: Path, start: Callable[[], TritonProcess]) -> None:
    server = start()
    where = ("--repository", release_repository)
    running = (*where, "--url", server.grpc_url)
    rows = [line for line in call("versions", *running).splitlines() if "LlamaModel, fp32" in line]
    assert ["default" in row for row in rows] == [False, True]
    assert ["loaded, asked" in row for row in rows] == [False, True]

    output = call("promote", *running, "--version", "1")
    assert "default of reward: version 1, before it 2" in output
    assert "scores as exported" in output
    with RewardClient(server.grpc_url) as one, RewardClient(server.grpc_url, version="2") as two:
        assert one.version == "1"
        two.score_tokens(random_sequences(0, [5]))
    assert re.search(r"asked \d+ s ago", call("versions", *running))
    assert "version 2, before it 1" in call("rollback", *running)
    call("score", "--url", server.grpc_url, "--model-version", "1", "a text")
    call("score", "--url", server.grpc_url, "--model-version", "one", "a text", code=2)
    assert "stopped: 1; removed: none" in call("prune", *running, "--idle", "0")
    with pytest.raises(ModelNotFoundError, match="hasn't loaded version 1"):
        RewardClient(server.grpc_url, version="1")

    assert "reward (versions 1, 2): as exported" in call("check-repository", *where)
    (release_repository / "reward" / "1" / "runs.py").unlink()
    assert "reward/1/runs.py is missing" in call("check-repository", *where, code=1)

    # A version whose warm-up can't run isn't loaded, and what was loaded stays.
    for file in (release_repository / "reward" / "warmup").iterdir():
        file.unlink()
    (release_repository / "reward" / "2" / "contract.json").touch()
    with ServerControl(server.grpc_url, admin_key=ADMIN_KEY) as control:
        with pytest.raises(ServerError, match="warmup"):
            control.load("reward")
        assert [each.version for each in control.loaded("reward")] == ["2"]
    with RewardClient(server.grpc_url) as client:
        assert client.version == "2"


def test_interactive_requests_go_first(release_repository: Path, start: Callable[[], TritonProcess]) -> None:
    """One that comes behind hundreds of others is answered before most of them."""
    version = release_repository / "reward" / "2"
    make_holdable(version)
    server = start()
    done: list[str] = []
    with (
        RewardClient(server.grpc_url, share_prefixes=False) as bulk,
        RewardClient(server.grpc_url, priority="interactive") as interactive,
    ):

        def send(client: RewardClient, sequences: list[list[int]], name: str) -> list[Any]:
            session = client._session
            requests = [request for _, request in session._requests(session.check(sequences), ("rewards",))]
            calls = [session.send(request, 120) for request in requests]
            for each in calls:
                each.when_done(lambda: done.append(name))
            return calls

        with held(version):
            calls = send(bulk, random_sequences(1, [64] * 1600), "bulk")
            assert len(calls) >= 400
            before = wait_for_pending(server, version, more_than=len(calls) // 2)
            calls += send(interactive, random_sequences(2, [5]), "interactive")
            wait_for_pending(server, version, more_than=before)
        for each in calls:
            each.result()
    assert done.index("interactive") < len(calls) / 2


@pytest.mark.parametrize(("argument", "value"), [("version", "latest"), ("version", "-1"), ("priority", "urgent")])
def test_arguments_that_cannot_be(argument: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is '{value}'. Remedy"):
        RewardClient("localhost:1", **{argument: value})
