"""What docs/contract.md says, against a real server: whoever writes a client reads nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from rewardserve import RewardClient
from rewardserve_server import TritonProcess
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
SEQUENCES = [[5, 6, 7], [5, 6, 7, 8], [5, 6, 7, 9, 10]]
SUMS = [44, 80, 139]


def block(language: str) -> str:
    """The page's only code block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def table(heading: str) -> set[str]:
    """The names in the first column of the first table behind a heading."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.fixture
def http(server: TritonProcess) -> Callable[..., Any]:
    def call(path: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{server.http_url}{path}", content, timeout=60) as answer:
            return json.load(answer)

    return call


@pytest.fixture
def contract(http: Callable[..., Any]) -> dict[str, Any]:
    parameters = http("/v2/models/reward/versions/1/config")["parameters"]
    return dict(json.loads(parameters["rewardserve_contract_1"]["string_value"]))


@pytest.fixture
def expected(contract: dict[str, Any]) -> list[int]:
    """By the page's own function."""
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return [names["fingerprint"](ids, contract["identity"]) for ids in SEQUENCES]


def test_the_sums_of_the_example(expected: list[int], contract: dict[str, Any]) -> None:
    assert expected == [(total + contract["identity"]) % 2147483647 for total in SUMS]
    for ids, total in zip(SEQUENCES, SUMS, strict=True):
        assert re.search(rf"^\| `{' '.join(map(str, ids))}` \| .* \| {total} \|$", PAGE, re.MULTILINE)


def test_the_example_over_http(http: Callable[..., Any], client: RewardClient, expected: list[int]) -> None:
    answer = http("/v2/models/reward/versions/1/infer", json.loads(block("json")))
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["rewards"]["shape"] == outputs["fingerprints"]["shape"] == [1, 3]
    assert outputs["fingerprints"]["data"] == expected
    np.testing.assert_allclose(outputs["rewards"]["data"], client.score_tokens(SEQUENCES), rtol=0, atol=1e-5)


def test_the_example_over_grpc(server: TritonProcess, client: RewardClient, expected: list[int]) -> None:
    with grpc.insecure_channel(server.grpc_url) as channel:
        request = text_format.Parse(block("protobuf"), ModelInferRequest())
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    rewards, fingerprints = answer.raw_output_contents
    assert [output.name for output in answer.outputs] == ["rewards", "fingerprints"]
    assert np.frombuffer(fingerprints, "<i4").tolist() == expected
    np.testing.assert_allclose(np.frombuffer(rewards, "<f4"), client.score_tokens(SEQUENCES), rtol=0, atol=1e-5)


def test_a_malformed_request_is_a_400_that_names_the_segment(http: Callable[..., Any]) -> None:
    body = json.loads(block("json"))
    body["inputs"][1]["data"][5] = 9
    with pytest.raises(urllib.error.HTTPError) as raised:
        http("/v2/models/reward/versions/1/infer", body)
    assert raised.value.code == 400
    assert "malformed request: segment 2 has parent 9" in raised.value.read().decode()


def test_the_page_names_every_field(contract: dict[str, Any]) -> None:
    assert set(contract) - {"tokenization"} <= table("The reward contract")
    assert set(contract["tokenization"]) == table("How text becomes tokens")
    (parity,) = (line for line in PAGE.splitlines() if line.startswith("| `parity` |"))
    assert set(contract["parity"]) <= set(re.findall(r"`(\w+)`", parity))
    assert f"| `format` | integer | {contract['format']}." in PAGE


def test_the_tokenizer_is_handed_out(http: Callable[..., Any], contract: dict[str, Any]) -> None:
    sha256 = contract["tokenization"]["tokenizer_sha256"]
    body = json.loads(re.findall(r"-d '(\{.*?\})'", block("sh"), re.DOTALL)[0].replace("'$SHA256'", sha256))
    (output,) = http("/v2/models/reward_tokenizer/infer", body)["outputs"]
    assert output["name"] == "tokenizer_json"
    assert hashlib.sha256(output["data"][0].encode()).hexdigest() == sha256
