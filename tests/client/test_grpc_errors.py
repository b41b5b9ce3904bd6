"""gRPC's status codes become our errors, each with a cause and a remedy."""

from __future__ import annotations

import grpc
import pytest
from rewardserve import (
    DeadlineExceededError,
    ModelNotFoundError,
    RequestRejectedError,
    ServerError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from rewardserve._grpc_errors import translate

EXPECTED = {
    "OK": RequestRejectedError,  # never raised by gRPC; translated all the same
    "CANCELLED": ServerUnavailableError,  # by the server; `make soak` found one that was ending do so
    "UNKNOWN": RequestRejectedError,
    "INVALID_ARGUMENT": RequestRejectedError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "NOT_FOUND": ModelNotFoundError,
    "ALREADY_EXISTS": RequestRejectedError,
    "PERMISSION_DENIED": RequestRejectedError,
    "UNAUTHENTICATED": RequestRejectedError,
    "RESOURCE_EXHAUSTED": ServerOverloadedError,
    "FAILED_PRECONDITION": RequestRejectedError,
    "ABORTED": RequestRejectedError,
    "OUT_OF_RANGE": RequestRejectedError,
    "UNIMPLEMENTED": ServerUnavailableError,
    "INTERNAL": RequestRejectedError,
    "UNAVAILABLE": ServerUnavailableError,
    "DATA_LOSS": RequestRejectedError,
}


@pytest.mark.parametrize("details", ["Locally cancelled by application!", "Channel closed!"])
def test_a_call_that_was_cancelled_here_isnt_tried_again(details: str) -> None:
    error = translate(grpc.StatusCode.CANCELLED, details, url="host:8001", model="m")
    assert type(error) is ServerError
    assert not error.retriable


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_status_code(code: grpc.StatusCode) -> None:
    error = translate(code, "what happened.", url="host:8001", model="m")
    assert type(error) is EXPECTED[code.name]
    assert str(error).startswith(f"host:8001, model 'm': {code.name}: what happened. ")
    assert "Remedy: " in str(error)
    assert error.partial is None
    assert list(error.missing) == []


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("failed to connect to all addresses", ServerUnavailableError),
        ("Socket closed", ServerUnavailableError),
        ("[request id: <id_unknown>] Exceeds maximum queue size", ServerOverloadedError),
        ("Request timeout expired", ServerOverloadedError),
        ("Request for unknown model: 'm' is not at ready state", ModelNotFoundError),
        ("Request for unknown model: 'm' has no available versions", ModelNotFoundError),
        ("This protocol is restricted, expecting header 'triton-grpc-protocol-key'", RequestRejectedError),
    ],
)
def test_unavailable_is_told_apart_by_its_message(details: str, expected: type[ServerError]) -> None:
    error = translate(grpc.StatusCode.UNAVAILABLE, details, url="host:8001", model="m")
    assert type(error) is expected
    assert details in str(error)
    assert "Remedy: " in str(error)


@pytest.mark.parametrize("details", [None, ""])
def test_an_error_without_details(details: str | None) -> None:
    error = translate(grpc.StatusCode.INTERNAL, details, url="host:8001", model="m")
    assert str(error) == "host:8001, model 'm': INTERNAL: no details. Remedy: see the server's log"


def test_a_model_that_is_being_unloaded_may_come_back() -> None:
    def retriable(details: str) -> bool:
        return translate(grpc.StatusCode.NOT_FOUND, details, url="host:8001", model="m").retriable

    assert retriable("Request for unknown model: 'm' has no available versions")
    assert not retriable("Request for unknown model: 'm' is not found")


@pytest.mark.parametrize("details", ["Failed to retrieve the response error", "Failed to process the requests."])
def test_an_answer_that_was_lost_on_the_server(details: str) -> None:
    error = translate(grpc.StatusCode.INTERNAL, details, url="host:8001", model="m")
    assert isinstance(error, ServerUnavailableError)
    assert error.retriable
