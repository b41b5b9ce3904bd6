"""A server from a stranger chooses the rewards, but gets nothing else of its clients."""

from __future__ import annotations

from pathlib import Path

import pytest
from rewardserve import RewardClient
from support.hostile_servers import CASES, served
from support.limited import run_limited


def call(url: str, name: str) -> object:
    with RewardClient(url, timeout=60) as client:
        return CASES[name].call(client)


@pytest.mark.parametrize("name", CASES)
def test_its_client_gets_an_error_of_ours(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with served(case) as url:
        outcome = run_limited(call_with_cache, url, name, str(tmp_path / "a" / "b" / "cache"))
    assert (outcome.kind, outcome.ours) == (case.gets, True), outcome
    assert case.message in outcome.text
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.startswith("a/b/cache/rewardserve/tokenizers/") for path in written)


def call_with_cache(url: str, name: str, cache: str) -> object:
    import os

    os.environ["XDG_CACHE_HOME"] = cache
    return call(url, name)
