"""Answers of a server, taken as the client takes them when it doesn't ask again."""

from __future__ import annotations

from typing import Any

from rewardserve._answers import Answers
from rewardserve._packing import PackedRequest
from tritonclient.grpc.service_pb2 import ModelInferResponse


def add(answers: Answers[Any], packed: PackedRequest, response: ModelInferResponse) -> None:
    """What can't be trusted of the answer counts as missing."""
    error = answers.take(packed, response)
    if error is not None:
        answers.fail(error)
