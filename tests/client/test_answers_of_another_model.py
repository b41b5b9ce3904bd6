"""Answers whose fingerprints are those of another model than the client's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from rewardserve import ModelChangedError, RewardIntegrityError, ServerError, ServerUnavailableError, _wire
from rewardserve._answers import Rewards, Values
from rewardserve._packing import PackedRequest
from rewardserve._prefixes import Family
from support.answers import add
from tritonclient.grpc.service_pb2 import ModelInferResponse

OWN, OTHER = 1_000_000, 7
"""Identities."""

SEQUENCES = [np.array(ids, dtype=np.int32) for ids in ([1, 2, 3], [4, 5], [6], [4, 5])]


def request(*items: int) -> PackedRequest:
    return PackedRequest.of(SEQUENCES, list(items))


def answer(
    packed: PackedRequest, identity: int, output: str = "rewards", values: Sequence[float] | None = None
) -> ModelInferResponse:
    content = np.array(range(len(packed.segments)) if values is None else values, dtype=np.float32)
    fingerprints = _wire.identified(packed.fingerprints, identity)
    return raw_answer(fingerprints, content, output)


def raw_answer(fingerprints: Sequence[int], values: Sequence[float], output: str = "rewards") -> ModelInferResponse:
    response = ModelInferResponse()
    response.outputs.add(name=output)
    response.outputs.add(name="fingerprints")
    response.raw_output_contents.append(np.array(values, dtype=np.float32).tobytes())
    response.raw_output_contents.append(np.array(fingerprints, dtype=np.int32).tobytes())
    return response


def failure_of(answers: Rewards | Values) -> ServerError:
    with pytest.raises(ServerError) as raised:
        answers.result()
    return raised.value


@pytest.mark.parametrize(("own", "other"), [(OWN, OTHER), (OTHER, OWN), (0, _wire.FINGERPRINT_MODULUS - 1)])
def test_no_reward_of_another_model_is_kept(own: int, other: int) -> None:
    rewards = Rewards(4, identity=own)
    add(rewards, request(0), answer(request(0), own))
    assert not rewards.server_failed
    add(rewards, request(1, 2, 3), answer(request(1, 2, 3), other))
    assert rewards.server_failed, "sending more is of no use"
    error = failure_of(rewards)
    assert isinstance(error, ModelChangedError)
    assert "serves another model than the one that this client was made for" in str(error)
    assert "Remedy: make a new client" in str(error)
    assert error.partial is not None
    assert np.array_equal(error.partial, [0, np.nan, np.nan, np.nan], equal_nan=True)
    assert error.missing == [1, 2, 3]


def test_no_value_of_another_model_is_kept() -> None:
    values = Values(3, identity=OWN)
    add(values, request(0, 1, 2), answer(request(0, 1, 2), OTHER, "values", [1] * 6))
    error = failure_of(values)
    assert isinstance(error, ModelChangedError)
    assert error.missing == [0, 1, 2]


@pytest.mark.parametrize("values", [[np.nan] * 3, [1] * 9], ids=["NaN", "with several labels"])
def test_what_else_is_wrong_with_them_is_explained_by_it(values: list[float]) -> None:
    rewards = Rewards(3, identity=OWN)
    add(rewards, request(0, 1, 2), answer(request(0, 1, 2), OTHER, values=values))
    assert isinstance(failure_of(rewards), ModelChangedError)


def test_other_tokens_are_no_other_model() -> None:
    """Their sums are off by different numbers; and the reward that is right is kept."""
    packed = request(0, 1, 2)
    for changes, missing in (([5, 5, 6], [0, 1, 2]), ([5, 5, 0], [0, 1])):
        rewards = Rewards(3, identity=OWN)
        found = _wire.identified(packed.fingerprints + np.array(changes, dtype=np.int32), OWN)
        add(rewards, packed, raw_answer(found, [1, 2, 3]))
        assert not rewards.server_failed
        error = failure_of(rewards)
        assert type(error) is RewardIntegrityError
        assert "item 0 can't be trusted: it was computed from other tokens than those sent (fingerprint" in str(error)
        assert error.missing == missing


TWINS = PackedRequest.of_families(SEQUENCES, [Family(prefix=0, members=[[1, 3]])])


@pytest.mark.parametrize("packed", [request(1), TWINS], ids=["alone", "with its twin"])
def test_one_sequence_may_be_either(packed: PackedRequest) -> None:
    rewards = Rewards(4, identity=OWN)
    add(rewards, packed, answer(packed, OTHER))
    assert not rewards.server_failed
    error = failure_of(rewards)
    assert type(error) is RewardIntegrityError
    assert "other tokens than those sent or by another model (fingerprint" in str(error)
    assert str(error).endswith("Remedy: score it again, and if it fails again, make a new client")


def test_one_sequence_a_request_is_known_by_the_request_before() -> None:
    rewards = Rewards(3, identity=OWN)
    for item in (0, 1):
        assert not rewards.server_failed
        add(rewards, request(item), answer(request(item), OTHER))
    assert rewards.server_failed
    error = failure_of(rewards)
    assert isinstance(error, ModelChangedError)
    assert error.missing == [0, 1, 2]


def test_two_sequences_off_by_different_numbers_are_two_mix_ups() -> None:
    rewards = Rewards(3, identity=OWN)
    add(rewards, request(0), answer(request(0), OTHER))
    add(rewards, request(1), answer(request(1), OTHER + 1))
    assert type(failure_of(rewards)) is RewardIntegrityError


def test_refused_requests_are_of_no_model() -> None:
    """A graph answers -1 to them: off by one number, too, where all sequences have the same sum."""
    same = [np.array(ids, dtype=np.int32) for ids in ([2, 0], [0, 1])]
    packed = PackedRequest.of(same, [0, 1])
    assert packed.fingerprints[0] == packed.fingerprints[1]
    rewards = Rewards(2, identity=OWN)
    for _ in range(2):
        add(rewards, packed, raw_answer([-1, -1], [np.nan, np.nan]))
    error = failure_of(rewards)
    assert type(error) is RewardIntegrityError
    assert "the graph refused the request as malformed" in str(error)


def test_another_model_explains_an_earlier_failure() -> None:
    rewards = Rewards(1, identity=OWN)
    rewards.fail(ServerUnavailableError("it restarts"))
    rewards.fail(ModelChangedError("it serves another"))
    rewards.fail(ServerUnavailableError("it restarts again"))
    assert str(failure_of(rewards)) == "it serves another"
