"""What the Python backend tells Prometheus, after requests whose counts are known."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from rewardserve import RewardClient
from rewardserve_export import ExportSummary
from rewardserve_server import ServeOptions, ServerControl, TritonProcess
from support.calls import packed_request
from support.metrics import assert_counted, counted, samples
from support.packed import Request, malformed_requests, random_request, sequences_of
from support.releases import ADMIN_KEY

NAN_TOKEN, VOCABULARY, MAX_LENGTH, MAX_TOKENS = 399, 400, 24, 256


def ask(infer: Any, ids: Sequence[int], segments: Sequence[Sequence[int]], version: str = "1") -> np.ndarray[Any, Any]:
    """The rewards of all segments, float64."""
    request = packed_request(ids, segments)
    request.model_version = version
    request.outputs.add(name="rewards")
    (content,) = infer(request, timeout=60).raw_output_contents
    return np.frombuffer(content, dtype=np.float32).astype(np.float64)


def sums(rewards: np.ndarray[Any, Any]) -> dict[str, float]:
    return {
        "rewards": rewards.size,
        "reward_positive": rewards[rewards > 0].sum(),
        "reward_negative": -rewards[rewards < 0].sum(),
        "reward_squares": (rewards**2).sum(),
    }


def test_a_prompt_with_three_responses(metrics_server: TritonProcess, infer: Any) -> None:
    """Of 11, 13 and 10 tokens, 8 of them the prompt's."""
    before = counted(metrics_server)
    rewards = ask(infer, range(18), [(8, 0), (3, 1), (5, 2), (2, 3)])
    expected = {
        "sequences": 3,
        "invalid_sequences": 0,
        "nan_rewards": 0,
        "tokens": 18,
        "padding_tokens_avoided": 5,
        "prefix_tokens_saved": 16,
        **sums(rewards[1:]),
    }
    assert_counted(metrics_server, before, expected)


def totals(request: Request) -> dict[str, float]:
    """Written again, from the sequences themselves."""
    ids, segments = request
    prompts = {index - parent for index, parent in enumerate(segments[:, 1].tolist()) if parent}
    lengths = [tokens.size for index, tokens in enumerate(sequences_of(request)) if index not in prompts]
    return {
        "sequences": len(lengths),
        "tokens": ids.size,
        "padding_tokens_avoided": sum(max(lengths) - length for length in lengths),
        "prefix_tokens_saved": sum(lengths) - ids.size,
    }


def test_requests_of_any_shape(metrics_server: TritonProcess, infer: Any) -> None:
    random = np.random.default_rng(0)
    before, expected = counted(metrics_server), Counter[str]()
    for _ in range(40):
        request = random_request(random, vocab_size=NAN_TOKEN, max_length=MAX_LENGTH, max_tokens=MAX_TOKENS)
        ask(infer, request[0].tolist(), request[1].tolist())
        expected.update(totals(request))  # type: ignore[arg-type]
    assert expected["prefix_tokens_saved"] > 100
    assert_counted(metrics_server, before, expected)


def test_malformed_requests(metrics_server: TritonProcess, infer: Any) -> None:
    malformed = malformed_requests(vocab_size=VOCABULARY, max_length=MAX_LENGTH, max_request_tokens=MAX_TOKENS)
    before = counted(metrics_server)
    for ids, segments in malformed.values():
        with pytest.raises(grpc.RpcError, match="malformed request"):
            ask(infer, ids.tolist(), segments.tolist())
    refused = sum(max(1, len(segments)) for _, segments in malformed.values())
    assert_counted(metrics_server, before, {**dict.fromkeys(before, 0.0), "invalid_sequences": refused})


def test_rewards_that_are_not_numbers(metrics_server: TritonProcess, infer: Any) -> None:
    before = counted(metrics_server)
    rewards = ask(infer, [1, 2, NAN_TOKEN, 4, 5], [(3, 0), (2, 0)])
    assert np.isnan(rewards[0])
    expected = {"sequences": 2, "nan_rewards": 1, "tokens": 5, "invalid_sequences": 0, **sums(rewards[1:])}
    assert_counted(metrics_server, before, expected)


def test_versions_are_counted_apart(metrics_server: TritonProcess, infer: Any) -> None:
    one, two = counted(metrics_server, "1"), counted(metrics_server, "2")
    ask(infer, [1, 2, 3], [(3, 0)], version="2")
    assert_counted(metrics_server, two, {"sequences": 1, "tokens": 3}, version="2")
    assert counted(metrics_server, "1") == one


def test_instances_are_added_up(metrics_server: TritonProcess, infer: Any) -> None:
    before, sent = counted(metrics_server), 0
    deadline = time.monotonic() + 60
    while True:
        callers = [threading.Thread(target=ask, args=(infer, [1, 2, 3], [(2, 0), (1, 1)])) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        sent += len(callers)
        assert_counted(metrics_server, before, {"sequences": sent, "tokens": 3 * sent, "prefix_tokens_saved": 0})
        by_process = [each.value for each in samples(metrics_server) if each.name == "rewardserve_sequences_total"]
        assert len(by_process) == 2
        if all(by_process) or time.monotonic() > deadline:
            break
    assert all(by_process)


def test_rewards_beside_their_reference(
    metrics_server: TritonProcess, metrics_repository: Path, texts: list[str]
) -> None:
    """The reference's own texts: as many in each tenth, and no drift."""
    before = counted(metrics_server)
    buckets = histogram(metrics_server, "1")
    with RewardClient(metrics_server.grpc_url, version="1") as client:
        rewards = client.score(texts).astype(np.float64)
    expected = {f"reward_decile{tenth}": 10.0 for tenth in range(1, 11)}
    assert_counted(metrics_server, before, {"sequences": 100, **sums(rewards), **expected})
    reference = json.loads((metrics_repository / "reward" / "1" / "reference.json").read_text())
    gauges = {each.name: each.value for each in samples(metrics_server) if "reference" in each.name}
    assert gauges == pytest.approx(
        {
            "rewardserve_reward_reference_mean": reference["mean"],
            "rewardserve_reward_reference_std": reference["std"],
        }
    )
    assert (reference["texts"], reference["mean"], reference["std"]) == pytest.approx(
        (100, rewards.mean(), rewards.std())
    )
    assert reference["deciles"] == pytest.approx(np.quantile(rewards, np.arange(1, 10) / 10).tolist(), abs=1e-5)
    after = histogram(metrics_server, "1")
    assert [float(limit) for limit in after][:-1] == pytest.approx(reference["deciles"])
    assert [after[limit] - buckets[limit] for limit in after] == [10 * tenth for tenth in range(1, 11)]


def histogram(server: TritonProcess, version: str) -> dict[str, float]:
    """The counts by upper limit, over all processes."""
    counts: dict[str, float] = {}
    for each in samples(server, version):
        if each.name == "rewardserve_reward_bucket":
            counts[each.labels["le"]] = counts.get(each.labels["le"], 0) + each.value
    return dict(sorted(counts.items(), key=lambda item: float(item[0])))


def test_without_a_reference(metrics_server: TritonProcess) -> None:
    assert [float(limit) for limit in histogram(metrics_server, "2")] == [
        -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, float("inf"),
    ]  # fmt: skip
    names = {each.name for each in samples(metrics_server, "2")}
    assert not {name for name in names if "decile" in name or "reference" in name}


def test_a_reference_that_cannot_be_read_costs_no_reward(metrics_server: TritonProcess) -> None:
    with RewardClient(metrics_server.grpc_url, model="damaged", version="1") as client:
        assert np.isfinite(client.score_tokens([[1, 2, 3]])).all()
    assert samples(metrics_server, "1", "damaged") == []
    assert "there are no rewardserve metrics from now on: JSONDecodeError" in metrics_server.log_tail(10_000)


def test_loading_a_model_anew(metrics_server: TritonProcess, metrics_repository: Path, infer: Any) -> None:
    """Each process has series of its own: those of the ones that end go, and the others' stay what they are."""
    old = {each.labels["process"] for each in samples(metrics_server)}
    (metrics_repository / "reward" / "1" / "contract.json").touch()
    with ServerControl(metrics_server.grpc_url, admin_key=ADMIN_KEY) as control:
        control.load("reward")
    deadline, sent = time.monotonic() + 60, 0
    while old & (new := {each.labels["process"] for each in samples(metrics_server)}):
        ask(infer, [1, 2, 3], [(3, 0)])  # to the new ones: counted while the old ones go
        sent += 1
        assert time.monotonic() < deadline
    assert len(new) == 2
    ask(infer, [1, 2, 3], [(3, 0)])
    assert_counted(metrics_server, Counter(), {"sequences": sent + 1, "tokens": 3 * (sent + 1)})


def test_without_a_metrics_endpoint(exported: ExportSummary, repository: Path) -> None:
    assert (exported.path / "metrics.py").exists()
    options = ServeOptions(
        repository=repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        extra_args=("--allow-metrics=false",),
    )
    with TritonProcess(options) as server:
        server.wait_until_ready()
        with pytest.raises(OSError):
            urllib.request.urlopen(server.metrics_url, timeout=10)
        with RewardClient(server.grpc_url) as client:
            assert np.isfinite(client.score_tokens([[1, 2, 3]])).all()
