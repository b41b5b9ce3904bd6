"""What is sent when, and what a failure means: decided without a server, a clock or a thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rewardserve import (
    DeadlineExceededError,
    ModelChangedError,
    RequestRejectedError,
    RewardIntegrityError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from rewardserve._answers import Rewards
from rewardserve._packing import PackedRequest
from rewardserve._transfer import LONGEST_DELAY, Attempt, Transfer
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

TOKENS = 10


def response(packed: PackedRequest) -> ModelInferResponse:
    """The answer that a server would give: each reward the first token of its sequence."""
    answer = ModelInferResponse()
    rewards = packed.input_ids[np.cumsum(packed.segments[:, 0]) - packed.segments[:, 0]].astype(np.float32)
    for name, tensor in (("rewards", rewards), ("fingerprints", packed.fingerprints)):
        answer.outputs.add(name=name, shape=tensor.shape)
        answer.raw_output_contents.append(tensor.tobytes())
    return answer


def make_transfer(count: int, *, in_flight: int = 3, timeout: float = 60) -> Transfer[Any]:
    sequences = [np.full(TOKENS, item, dtype=np.int32) for item in range(count)]

    def requests() -> Iterator[tuple[PackedRequest, ModelInferRequest]]:
        for item in range(count):
            yield PackedRequest.of(sequences, [item]), ModelInferRequest(id=str(item))

    return Transfer(requests(), Rewards(count, identity=0), timeout=timeout, max_tokens_in_flight=in_flight * TOKENS)


def take(transfer: Transfer[Any], now: float) -> list[Attempt]:
    attempts = []
    while (attempt := transfer.next(now)) is not None:
        attempts.append(attempt)
    return attempts


def overloaded() -> ServerOverloadedError:
    return ServerOverloadedError("full", retriable=True)


def test_tokens_in_flight_are_bounded() -> None:
    transfer = make_transfer(5)
    first = take(transfer, 0)
    assert len(first) == 3
    assert transfer.wait(0) is None
    transfer.answered(first[1], response(first[1].packed), 0)
    rest = take(transfer, 0)
    assert len(rest) == 1
    for attempt in (*first[::2], *rest, *take(transfer, 0)):
        transfer.answered(attempt, response(attempt.packed), 0)
    last = take(transfer, 0)
    for attempt in last:
        transfer.answered(attempt, response(attempt.packed), 0)
    assert transfer.finished
    assert transfer.result().tolist() == [0, 1, 2, 3, 4]


def test_one_request_is_let_through_however_large() -> None:
    transfer = make_transfer(2, in_flight=0)
    assert len(take(transfer, 0)) == 1


def test_what_fails_in_passing_is_sent_again_and_nothing_new_before() -> None:
    transfer = make_transfer(4)
    first = take(transfer, 0)
    transfer.failed(first[0], overloaded(), 0)
    transfer.answered(first[1], response(first[1].packed), 0)
    assert take(transfer, 0) == []
    wait = transfer.wait(0)
    assert wait is not None
    assert 0 < wait <= 0.1
    again = take(transfer, wait)
    assert again[0] is first[0]
    assert len(again) == 2, "and then the new one"
    for attempt in (first[2], *again):
        transfer.answered(attempt, response(attempt.packed), 0)
    assert transfer.finished
    assert transfer.result().tolist() == [0, 1, 2, 3]


def test_the_waits_grow_and_the_last_try_is_just_before_the_timeout() -> None:
    transfer = make_transfer(1, timeout=60)
    now, waits = 0.0, []
    (attempt,) = take(transfer, now)
    while True:
        transfer.failed(attempt, overloaded(), now)
        if transfer.finished:
            break
        wait = transfer.wait(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert take(transfer, now) == [attempt]
    assert 59.8 < now < 60
    assert waits[0] <= 0.1
    assert LONGEST_DELAY / 2 <= max(waits) <= LONGEST_DELAY
    with pytest.raises(ServerOverloadedError, match=rf"full \(sent {len(waits) + 1} times in \d+\.\d s\)") as raised:
        transfer.result()
    assert list(raised.value.missing) == [0]


@pytest.mark.parametrize(
    ("again", "error", "message"),
    [
        (1, DeadlineExceededError, r"^too late \(sent 2 times in 60.0 s; before that: full\)$"),
        (59, ServerOverloadedError, r"^full \(sent 2 times in 60.0 s\)$"),
    ],
)
def test_a_deadline_hides_nothing_that_failed_before(again: float, error: type[Exception], message: str) -> None:
    transfer = make_transfer(1, timeout=60)
    (attempt,) = take(transfer, 0)
    transfer.failed(attempt, overloaded(), 0)
    assert take(transfer, again) == [attempt]
    transfer.failed(attempt, DeadlineExceededError("too late"), 60)
    with pytest.raises(error, match=message):
        transfer.result()


def test_a_rejected_request_is_never_sent_again() -> None:
    transfer = make_transfer(3)
    first, second, third = take(transfer, 0)
    transfer.failed(first, RequestRejectedError("no"), 0)
    for attempt in (second, third):
        transfer.answered(attempt, response(attempt.packed), 0)
    assert transfer.finished
    with pytest.raises(RequestRejectedError) as raised:
        transfer.result()
    assert list(raised.value.missing) == [0]
    assert raised.value.partial is not None
    assert raised.value.partial[1:].tolist() == [1, 2]


def test_when_the_server_has_failed_nothing_more_is_sent() -> None:
    transfer = make_transfer(9)
    first, second, third = take(transfer, 0)
    transfer.failed(first, overloaded(), 0)
    transfer.failed(second, ServerUnavailableError("gone"), 1)
    assert take(transfer, 100) == []
    assert not transfer.finished, "one is under way"
    transfer.answered(third, response(third.packed), 0)
    assert transfer.finished
    with pytest.raises(ServerUnavailableError) as raised:
        transfer.result()
    assert list(raised.value.missing) == [0, 1, 3, 4, 5, 6, 7, 8]


def test_the_time_that_remains() -> None:
    (attempt,) = take(make_transfer(1, timeout=10), 5)
    assert attempt.remaining(7) == 8
    assert 0 < attempt.remaining(20) < 1e-3


def test_nothing_to_send() -> None:
    transfer = make_transfer(0)
    assert take(transfer, 0) == []
    assert transfer.finished
    assert transfer.result().shape == (0,)


def mistaken(packed: PackedRequest, change: int) -> ModelInferResponse:
    answer = response(packed)
    answer.raw_output_contents[1] = (packed.fingerprints + change).tobytes()
    return answer


def test_an_answer_about_other_tokens_is_asked_for_again() -> None:
    transfer = make_transfer(1)
    (attempt,) = take(transfer, 0)
    transfer.answered(attempt, mistaken(attempt.packed, 5), 0)
    assert not transfer.finished
    assert take(transfer, 1) == [attempt]
    transfer.answered(attempt, response(attempt.packed), 1)
    assert transfer.result().tolist() == [0]


def test_and_given_up_after_a_while() -> None:
    transfer = make_transfer(1)
    for change in (5, 6, 7, 8, 9):
        (attempt,) = take(transfer, change)
        assert not transfer.finished
        transfer.answered(attempt, mistaken(attempt.packed, change), change)
    assert transfer.finished
    with pytest.raises(RewardIntegrityError, match=r"other tokens.*sent 5 times"):
        transfer.result()


def test_failures_before_it_are_no_mistakes() -> None:
    transfer = make_transfer(1)
    for now in (0, 10, 20, 30, 40):
        (attempt,) = take(transfer, now)
        transfer.failed(attempt, ServerUnavailableError("gone", retriable=True), now)
    assert take(transfer, 50) == [attempt]
    transfer.answered(attempt, mistaken(attempt.packed, 5), 50)
    assert take(transfer, 60) == [attempt]


def test_the_same_mistake_twice_is_another_model() -> None:
    transfer = make_transfer(1)
    for now in (0, 1):
        (attempt,) = take(transfer, now)
        transfer.answered(attempt, mistaken(attempt.packed, 5), now)
    assert transfer.finished
    with pytest.raises(ModelChangedError):
        transfer.result()
