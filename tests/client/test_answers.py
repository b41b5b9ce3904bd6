"""What the client does with the server's answers: none that can't be trusted is handed out, and no other is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from rewardserve import (
    DeadlineExceededError,
    ModelChangedError,
    ModelNotFoundError,
    RequestRejectedError,
    RewardIntegrityError,
    ServerError,
    ServerOverloadedError,
    ServerUnavailableError,
    _wire,
)
from rewardserve._answers import Answers, Rewards, Values
from rewardserve._packing import PackedRequest, pack
from support.answers import add
from tritonclient.grpc.service_pb2 import ModelInferResponse

IDENTITY = _wire.FINGERPRINT_MODULUS - 5
"""Of the model that the client was made for; fingerprints of tokens above 4 wrap around."""

SEQUENCES = [np.array(ids, dtype=np.int32) for ids in ([1, 2, 3], [4, 5], [6], [7, 8, 9])]


@pytest.fixture
def packed() -> PackedRequest:
    """The second to fourth sequence of a call."""
    return PackedRequest.of(SEQUENCES, [1, 2, 3])


def answer(rewards: Sequence[float], fingerprints: Sequence[int], identity: int = IDENTITY) -> ModelInferResponse:
    """Of a model with that identity; the fingerprints are those of tokens alone."""
    response = ModelInferResponse()
    for name, values in (
        ("rewards", np.array(rewards, dtype=np.float32)),
        ("fingerprints", _wire.identified(np.array(fingerprints, dtype=np.int32), identity)),
    ):
        response.outputs.add(name=name)
        response.raw_output_contents.append(values.tobytes())
    return response


def failure_of(answers: Answers[Any]) -> ServerError:
    with pytest.raises(ServerError) as raised:
        answers.result()
    return raised.value


def test_rewards_go_to_their_items(packed: PackedRequest) -> None:
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, packed, answer([1.5, 2.5, 3.5], packed.fingerprints))
    add(rewards, PackedRequest.of(SEQUENCES, [0]), answer([0.5], [1 * 2 + 2 * 3 + 3 * 4]))
    assert rewards.result().tolist() == [0.5, 1.5, 2.5, 3.5]
    assert rewards.result().dtype == np.float32


def test_the_order_of_the_outputs_doesnt_matter(packed: PackedRequest) -> None:
    response = answer([1.5, 2.5, 3.5], packed.fingerprints)
    swapped = ModelInferResponse(
        outputs=list(reversed(response.outputs)), raw_output_contents=list(reversed(response.raw_output_contents))
    )
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, packed, swapped)
    add(rewards, PackedRequest.of(SEQUENCES, [0]), answer([0.5], [20]))
    assert rewards.result().tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("reward", "fingerprint_change", "problem"),
    [
        (np.nan, 0, "item 2 can't be trusted: it is NaN: the model's activations overflow.*Remedy"),
        (np.nan, 1, "item 2 can't be trusted: it is NaN: the graph refused the request.*Remedy"),
        (9.0, 1, r"item 2 .* other tokens than those sent \(fingerprint 3, expected 2\).*Remedy"),
    ],
)
def test_one_bad_reward_leaves_the_others(
    packed: PackedRequest, reward: float, fingerprint_change: int, problem: str
) -> None:
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, packed, answer([1.5, reward, 3.5], packed.fingerprints + np.array([0, fingerprint_change, 0])))
    add(rewards, PackedRequest.of(SEQUENCES, [0]), answer([0.5], [20]))
    error = failure_of(rewards)
    assert isinstance(error, RewardIntegrityError)
    assert re.search(problem, str(error))
    assert error.partial is not None
    assert np.array_equal(error.partial, np.array([0.5, 1.5, np.nan, 3.5], dtype=np.float32), equal_nan=True)
    assert error.missing == [2]


PROMPT = list(range(20))
FAMILY = [np.array([*PROMPT, *own], dtype=np.int32) for own in ([33], [31], [32], [31])]
"""Sent as the prompt, which is nobody's sequence, and what follows it: items 1 and 3, item 2, item 0."""


@pytest.fixture
def family() -> PackedRequest:
    (request,) = pack(FAMILY, 100, share=True)
    assert request.segments.tolist() == [[20, 0], [1, 1], [1, 2], [1, 3]]
    return request


def test_equal_sequences_get_one_reward_and_the_prefix_none(family: PackedRequest) -> None:
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, family, answer([np.nan, 1.0, 2.0, 0.0], family.fingerprints + np.array([1, 0, 0, 0])))
    assert rewards.result().tolist() == [0.0, 1.0, 2.0, 1.0]


def test_equal_sequences_are_bad_together(family: PackedRequest) -> None:
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, family, answer([9.0, np.nan, 2.0, 0.0], family.fingerprints))
    error = failure_of(rewards)
    assert "item 1 can't be trusted" in str(error)
    assert error.missing == [1, 3]
    assert error.partial is not None
    assert np.array_equal(error.partial, np.array([0, np.nan, 2, np.nan], dtype=np.float32), equal_nan=True)


def test_the_first_bad_item_is_named_wherever_it_was_sent(family: PackedRequest) -> None:
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, family, answer([9.0, 1.0, np.nan, np.nan], family.fingerprints))
    error = failure_of(rewards)
    assert "item 0 can't be trusted" in str(error)
    assert error.missing == [0, 2]


def value_answer(packed: PackedRequest, values: np.ndarray[Any, Any]) -> ModelInferResponse:
    response = answer([], packed.fingerprints)
    response.outputs[0].name = "values"
    response.raw_output_contents[0] = values.astype(np.float32).tobytes()
    return response


def test_values_hold_those_of_the_prefix(family: PackedRequest) -> None:
    values = Values(4, identity=IDENTITY)
    add(values, family, value_answer(family, np.arange(23)))
    result = values.result()
    assert [each.tolist() for each in result] == [[*range(20), last] for last in (22, 20, 21, 20)]
    result[1][:] = -1
    assert result[0][0] == result[3][0] == 0, "each item has its own"


def test_a_bad_value_of_the_prefix_concerns_all(family: PackedRequest) -> None:
    values = Values(4, identity=IDENTITY)
    sent = np.arange(23.0)
    sent[3] = np.nan
    add(values, family, value_answer(family, sent))
    assert failure_of(values).missing == [0, 1, 2, 3]


def without_fingerprints(response: ModelInferResponse) -> None:
    response.outputs.pop()
    response.raw_output_contents.pop()


def shorter(response: ModelInferResponse) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-4]


def cut(response: ModelInferResponse) -> None:
    response.raw_output_contents[1] = response.raw_output_contents[1][:-1]


def emptied(response: ModelInferResponse) -> None:
    """What numpy 2 makes of it in a stub built against numpy 1."""
    response.raw_output_contents[0] = response.raw_output_contents[1] = b""


@pytest.mark.parametrize("damage", [without_fingerprints, shorter, cut, emptied])
def test_an_incomplete_answer_is_none(packed: PackedRequest, damage: Callable[[ModelInferResponse], None]) -> None:
    response = answer([1.5, 2.5, 3.5], packed.fingerprints)
    damage(response)
    rewards = Rewards(4, identity=IDENTITY)
    add(rewards, packed, response)
    error = failure_of(rewards)
    assert isinstance(error, RewardIntegrityError)
    assert "where 12 were expected. Remedy" in str(error)
    assert error.retriable, "it may be another request's"
    assert error.missing == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("error", "is_the_servers"),
    [
        (RequestRejectedError, False),
        (RewardIntegrityError, False),
        (ModelChangedError, True),
        (ServerError, True),
        (ServerUnavailableError, True),
        (ServerOverloadedError, True),
        (DeadlineExceededError, True),
        (ModelNotFoundError, True),
    ],
)
def test_which_failures_end_the_sending(error: type[ServerError], is_the_servers: bool) -> None:
    rewards = Rewards(2, identity=IDENTITY)
    rewards.fail(error("first"))
    assert rewards.server_failed is is_the_servers
    rewards.fail(RequestRejectedError("second"))
    assert rewards.server_failed is is_the_servers
    assert str(failure_of(rewards)) == "first"
