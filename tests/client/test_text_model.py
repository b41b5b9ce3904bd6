"""The model that takes texts, called over HTTP and gRPC without our client, answers what the client answers."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from rewardserve import RewardClient
from rewardserve_server import TritonProcess
from support.calls import statistics, wait_for_inferences
from support.text_calls import post_texts, rewards_in, text_request
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

TEXTS = [
    "a good answer",
    "a bad one",
    "the reward of " * 30,
    "x",
    "naïve 漢字 🙂\x00\n",
    "a good answer",
    "<s>y</s>",
] * 20


def test_http_as_curl_speaks_it(server: TritonProcess, client: RewardClient) -> None:
    status, body = post_texts(server.http_url, TEXTS)
    assert status == 200
    (output,) = body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("rewards", "FP32", [len(TEXTS)])
    assert np.array_equal(np.array(output["data"], dtype=np.float32), client.score(TEXTS))


def test_grpc_without_the_client(stub: Any, client: RewardClient) -> None:
    for texts in (TEXTS, TEXTS[:1], []):
        assert np.array_equal(rewards_in(stub.ModelInfer(text_request(texts), timeout=60)), client.score(texts))


def test_grpc_with_typed_contents(stub: Any, client: RewardClient) -> None:
    request = text_request(TEXTS)
    del request.raw_input_contents[:]
    request.inputs[0].contents.bytes_contents.extend(text.encode() for text in TEXTS)
    assert np.array_equal(rewards_in(stub.ModelInfer(request, timeout=60)), client.score(TEXTS))


def test_more_than_fits_into_the_requests_under_way(stub: Any, client: RewardClient) -> None:
    texts = [f"{number} is the reward of a good answer " * 8 for number in range(300)]
    assert np.array_equal(rewards_in(stub.ModelInfer(text_request(texts), timeout=60)), client.score(texts))


@pytest.mark.parametrize("kind", ["attributes", "encoder", "padded"])
def test_every_kind_of_model(kinds_url: str, kind: str) -> None:
    texts = [text[:200] for text in TEXTS]
    with RewardClient(kinds_url, model=kind) as client, grpc.insecure_channel(kinds_url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        rewards = rewards_in(stub.ModelInfer(text_request(texts, f"{kind}_text"), timeout=60))
        assert rewards.shape == ((len(texts), 3) if kind == "attributes" else (len(texts),))
        assert np.array_equal(rewards, client.score(texts))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("", r"item 2: is empty: there is no token to score\. Remedy: leave it out"),
        ("long " * 512, r"item 2: has \d+ tokens, the model was exported for at most 512\. Remedy: shorten it"),
    ],
)
def test_a_text_that_cant_be_scored(server: TritonProcess, item: str, message: str) -> None:
    status, body = post_texts(server.http_url, ["a", "b", item])
    assert status == 400
    assert re.match(message, body["error"])


def test_a_text_that_isnt_utf_8(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(text_request(["a", b"b\xff"]), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "item 1: isn't UTF-8 (byte 1: invalid start byte). Remedy: send it as UTF-8"


def test_threads_get_their_own_rewards_and_errors_and_share_executions(
    server: TritonProcess, stub: Any, client: RewardClient
) -> None:
    threads, calls = 16, 20
    texts = [f"{number} " + "good " * (number % 50) for number in range(threads * calls)]
    expected = client.score(texts)
    start = threading.Barrier(threads)
    before = statistics(stub)

    def score(thread: int) -> None:
        start.wait()
        for number in range(thread, len(texts), threads):
            if number % 5 == 0:
                assert post_texts(server.http_url, [texts[number], ""])[0] == 400
            else:
                _, body = post_texts(server.http_url, [texts[number]])
                assert np.float32(body["outputs"][0]["data"][0]) == expected[number]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score, range(threads)))
    after = statistics(stub)
    assert after.execution_count - before.execution_count < after.inference_count - before.inference_count


def test_a_short_call_doesnt_wait_for_a_long_one(stub: Any) -> None:
    begun = statistics(stub).inference_count + 1
    long_call = stub.ModelInfer.future(text_request([f"{n} is a good answer " * 20 for n in range(1500)]), timeout=120)
    wait_for_inferences(stub, begun)
    stub.ModelInfer(text_request(["a short one"]), timeout=60)
    assert not long_call.done()
    assert rewards_in(long_call.result()).shape == (1500,)
