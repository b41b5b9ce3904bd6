"""Strangers that send whatever hypothesis thinks of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._setup import MODEL
from benchmarks._soak_tally import Tally
from benchmarks._soak_worker import Stop

__all__ = ["MIXED_UP", "run_malformed"]

MIXED_UP = "answered with a reward"
"""Another request's, where nothing else is wrong with the server."""

_EXAMPLES = 200
_TOGETHER = 16
"""Requests that are sent at once."""
_TIMEOUT = 60.0
"""Seconds, of which a server may be away for some."""
_PAUSE = 0.05
_CALLER = "malformed"


def run_malformed(urls: Sequence[str], tally: Tally, stop: Stop) -> None:
    """Sends them until it is told to stop; an answer with a reward in it is an error."""
    import grpc
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st
    from rewardserve import RewardClient
    from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

    from benchmarks._soak_requests import Limits, malformed_requests

    with RewardClient(urls) as client:
        contract = client.contract
    limits = Limits(
        vocab_size=contract.vocab_size,
        max_length=contract.tokenization.max_length,
        max_request_tokens=contract.max_request_tokens,
    )
    stubs = [GRPCInferenceServiceStub(grpc.insecure_channel(url)) for url in urls]

    @given(st.sampled_from(stubs), st.lists(malformed_requests(MODEL, limits), min_size=1, max_size=_TOGETHER))
    @settings(max_examples=_EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    def send(stub: Any, requests: list[Any]) -> None:
        if not stop.is_set():
            _send(stub, requests, tally)
            time.sleep(_PAUSE)

    number = 0
    while not stop.is_set():
        seed(number)(send)()
        number += 1


def _send(stub: Any, requests: Sequence[Any], tally: Tally) -> None:
    import grpc

    began = time.monotonic()
    for call in [stub.ModelInfer.future(request, timeout=_TIMEOUT, wait_for_ready=True) for request in requests]:
        code = call.code()
        tally.count(_CALLER, "calls")
        if code is grpc.StatusCode.OK:
            answered = not _all_nan(call.result())
            tally.count(_CALLER, MIXED_UP if answered else "answered with NaN")
            if answered:
                tally.failed(_CALLER, MIXED_UP, repr(call.result()), began)
        elif code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            # Also for a model or version that isn't there; the server itself is away in a fault only.
            known = "is not found" in call.details() or "is not at ready state" in call.details()
            tally.count(_CALLER, "refused" if known else "unanswered")
            if not known:
                tally.failed(_CALLER, code.name, call.details(), began)
        else:
            tally.count(_CALLER, "refused")
            if code is grpc.StatusCode.INTERNAL:
                tally.failed(_CALLER, code.name, call.details(), began)


def _all_nan(response: Any) -> bool:
    (content,) = (
        content
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
        if output.name == "rewards"
    )
    return bool(np.isnan(np.frombuffer(content, dtype=np.float32)).all())
