"""gRPC calls as they are, to say what RewardClient wouldn't, and sequences to score."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelStatisticsRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from support.checkpoints import VOCABULARY


def infer_request(model: str = "reward", **tensors: np.ndarray[Any, Any]) -> ModelInferRequest:
    """Any tensors, in the shapes that they have; int64 and float32 ones under their own names."""
    datatypes = {"int32": "INT32", "int64": "INT64", "float32": "FP32"}
    request = ModelInferRequest(model_name=model)
    for name, tensor in tensors.items():
        request.inputs.add(name=name, datatype=datatypes[tensor.dtype.name], shape=tensor.shape)
        request.raw_input_contents.append(tensor.tobytes())
    return request


def packed_request(ids: Sequence[int], segments: Sequence[Sequence[int]]) -> ModelInferRequest:
    """One request of the wire contract."""
    return infer_request(
        input_ids=np.array([ids], dtype=np.int32), segments=np.array(segments, dtype=np.int32).reshape(1, -1, 2)
    )


def statistics(stub: Any, model: str = "reward") -> Any:
    """What the server counted so far: `inference_count`, `execution_count`, `inference_stats`."""
    (counted,) = stub.ModelStatistics(ModelStatisticsRequest(name=model), timeout=30).model_stats
    return counted


def random_sequences(seed: int, lengths: Sequence[int]) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCABULARY, length).tolist() for length in lengths]


LONG_CALL = random_sequences(5, [512] * 400)
"""Seconds of work, in 400 requests: nobody waits for all of them."""


def in_mid_call(url: str, action: Callable[[], None]) -> threading.Thread:
    """Does something, in a thread, once the server has answered ten more requests."""
    channel = grpc.insecure_channel(url)
    stub = GRPCInferenceServiceStub(channel)
    goal = statistics(stub).inference_count + 10

    def watch() -> None:
        with channel:
            wait_for_inferences(stub, goal)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def wait_for_inferences(stub: Any, goal: int) -> None:
    """Returns once the server has answered so many requests since it started."""
    deadline = time.monotonic() + 120
    while statistics(stub).inference_count < goal:
        assert time.monotonic() < deadline
        time.sleep(0.01)
