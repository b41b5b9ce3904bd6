"""Whatever is sent to the server, it is answered, and nobody else notices."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rewardserve_export import ExportSummary
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from benchmarks._soak_requests import Limits, good_request, malformed_requests, odd_requests

# The same examples each time; none is kept, and how long one takes is the machine's business.
reproducible = settings(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
TOGETHER = 16
"""Requests that are sent at once, and meet in the server's batches."""
HANGS = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def rewards_in(response: ModelInferResponse) -> list[float]:
    """Of any of the models' answers."""
    contents = dict(zip((each.name for each in response.outputs), response.raw_output_contents, strict=True))
    return np.frombuffer(contents["rewards"], dtype=np.float32).tolist()


def among_neighbours(
    stub: Any, requests: list[ModelInferRequest], alone: list[bytes]
) -> list[ModelInferResponse | None]:
    """The answers; None for an error. Good requests between them are answered to the bit as alone."""
    good = good_request("reward")
    calls = [(stub.ModelInfer.future(each, timeout=60), stub.ModelInfer.future(good, timeout=60)) for each in requests]
    answers = []
    for asked, neighbour in calls:
        assert list(neighbour.result().raw_output_contents) == alone
        assert asked.code() not in HANGS, asked.details()
        answers.append(asked.result() if asked.code() is grpc.StatusCode.OK else None)
    return answers


def test_malformed_requests(stub: Any, exported: ExportSummary) -> None:
    contract = exported.contract
    limits = Limits(
        vocab_size=contract.vocab_size,
        max_length=contract.tokenization.max_length,
        max_request_tokens=contract.max_request_tokens,
    )
    alone = list(stub.ModelInfer(good_request("reward"), timeout=60).raw_output_contents)

    @reproducible
    @given(st.lists(malformed_requests("reward", limits), min_size=1, max_size=TOGETHER))
    def refused(requests: list[ModelInferRequest]) -> None:
        for answer in among_neighbours(stub, requests, alone):
            assert answer is None or np.isnan(rewards_in(answer)).all()

    refused()


def test_odd_parameters(stub: Any) -> None:
    alone = list(stub.ModelInfer(good_request("reward"), timeout=60).raw_output_contents)
    answered = 0

    @reproducible
    @given(st.lists(odd_requests("reward"), min_size=1, max_size=TOGETHER))
    def unchanged(requests: list[ModelInferRequest]) -> None:
        nonlocal answered
        for answer in among_neighbours(stub, requests, alone):
            assert answer is None or list(answer.raw_output_contents) == alone
            answered += answer is not None

    unchanged()
    assert answered > 10
