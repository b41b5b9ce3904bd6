"""What every client does with what it receives: read it, check it, put it in the order of the input."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rewardserve import _wire
from rewardserve._errors import RequestRejectedError, RewardIntegrityError, ServerError
from rewardserve._packing import PackedRequest

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

__all__ = ["Answers", "Rewards", "Values"]

Result = TypeVar("Result")


class Answers(ABC, Generic[Result]):
    """Collects the answers of one call, in any order, and gives them back in the order of the input."""

    outputs: ClassVar[tuple[str, ...]]
    """The wire contract's outputs to ask for."""

    def __init__(self, count: int) -> None:
        self._missing = np.ones(count, dtype=bool)
        self._failure: ServerError | None = None
        self._server_failed = False

    @property
    def server_failed(self) -> bool:
        """Whether a failure concerns the server or the connection, not one request: sending more is of no use."""
        return self._server_failed

    def add(self, packed: PackedRequest, response: ModelInferResponse) -> None:
        """Takes the answer to one request; an item that can't be trusted counts as missing, the others don't suffer."""
        outputs = zip(response.outputs, response.raw_output_contents, strict=False)
        self.add_raw(packed, {output.name: part for output, part in outputs})

    def add_raw(self, packed: PackedRequest, raw: dict[str, bytes]) -> None:
        """As `add`, from the content of each output by its name, however it came."""
        try:
            good, error = self._take(packed, raw)
        except _IncompleteError as incomplete:
            self.fail(RewardIntegrityError(str(incomplete)))
            return
        self._missing[packed.items[good]] = False
        if error is not None:
            self.fail(error)

    def fail(self, error: ServerError) -> None:
        """Notes that answers are missing; the first error is the one that is raised."""
        self._failure = self._failure or error
        self._server_failed |= not isinstance(error, RequestRejectedError | RewardIntegrityError)

    def result(self) -> Result:
        """All answers, in order.

        Raises:
            ServerError: Some are missing; `.partial` and `.missing` say which.
        """
        if self._failure is not None:
            self._failure.partial = self._partial()
            self._failure.missing = np.flatnonzero(self._missing).tolist()
            raise self._failure
        return self._result()

    @abstractmethod
    def _take(
        self, packed: PackedRequest, raw: dict[str, bytes]
    ) -> tuple[npt.NDArray[np.bool_], RewardIntegrityError | None]:
        """Keeps one request's answers; says which of its items [M] are good, and why the first other one isn't."""

    @abstractmethod
    def _result(self) -> Result: ...

    @abstractmethod
    def _partial(self) -> npt.NDArray[np.float32]: ...


class Rewards(Answers[npt.NDArray[np.float32]]):
    """Rewards float32 [n], or [n, K].

    Args:
        count: Items in the input.
        labels: K, or None for one reward an item.
    """

    outputs = (_wire.REWARDS, _wire.FINGERPRINTS)

    def __init__(self, count: int, labels: int | None = None) -> None:
        super().__init__(count)
        self._shape = () if labels is None else (labels,)
        self._rewards = np.full((count, *self._shape), np.nan, dtype=np.float32)

    def _take(
        self, packed: PackedRequest, raw: dict[str, bytes]
    ) -> tuple[npt.NDArray[np.bool_], RewardIntegrityError | None]:
        rewards = _read(raw, _wire.REWARDS, np.float32, (len(packed.segments), *self._shape))[packed.ends]
        nan = np.isnan(rewards).reshape(packed.items.size, -1).any(axis=1)
        good, error = _check(packed, raw, nan)
        self._rewards[packed.items[good]] = rewards[good]
        return good, error

    def _result(self) -> npt.NDArray[np.float32]:
        return self._rewards

    def _partial(self) -> npt.NDArray[np.float32]:
        return self._rewards


class Values(Answers[list[npt.NDArray[np.float32]]]):
    """The value head's output at every token: one float32 [t] an item."""

    outputs = (_wire.VALUES, _wire.FINGERPRINTS)

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._values: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * count

    def _take(
        self, packed: PackedRequest, raw: dict[str, bytes]
    ) -> tuple[npt.NDArray[np.bool_], RewardIntegrityError | None]:
        values = _read(raw, _wire.VALUES, np.float32, (packed.input_ids.size,))
        parts = np.split(values, np.cumsum(packed.segments[:-1, 0]))
        prefixes = packed.ends - packed.segments[packed.ends, 1]
        whole = [
            np.concatenate([parts[prefix], parts[end]] if prefix != end else [parts[end]])
            for prefix, end in zip(prefixes.tolist(), packed.ends.tolist(), strict=True)
        ]
        good, error = _check(packed, raw, np.array([bool(np.isnan(each).any()) for each in whole]))
        for place in np.flatnonzero(good):
            self._values[packed.items[place]] = whole[place]
        return good, error

    def _result(self) -> list[npt.NDArray[np.float32]]:
        return self._values

    def _partial(self) -> npt.NDArray[np.float32]:
        """The last token's value of each item: what its reward would be."""
        return np.array([values[-1] if values.size else np.nan for values in self._values], dtype=np.float32)


class _IncompleteError(Exception):
    """A tensor of the answer is missing or cut short."""


Number = TypeVar("Number", np.float32, np.int32)


def _read(raw: dict[str, bytes], name: str, dtype: type[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    content, expected = raw.get(name, b""), 4 * math.prod(shape)
    if len(content) != expected:
        raise _IncompleteError(
            f"the server answered {len(content)} bytes of {name} where {expected} were expected. Remedy: with "
            "rewardserve's embedded server, check that its Python environment has numpy<2"
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def _check(
    packed: PackedRequest, raw: dict[str, bytes], nan: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], RewardIntegrityError | None]:
    """Which items [M] can be trusted, given which hold NaN; and why the first other one can't.

    A prefix that is nobody's sequence isn't looked at: the fingerprints of those that continue it cover its tokens.
    """
    fingerprints = _read(raw, _wire.FINGERPRINTS, np.int32, (len(packed.segments),))[packed.ends]
    expected = packed.fingerprints[packed.ends]
    bad = nan | (fingerprints != expected)
    if not bad.any():
        return ~bad, None
    first = min(np.flatnonzero(bad), key=packed.items.__getitem__)
    problem = _problem(bool(nan[first]), int(fingerprints[first]), int(expected[first]))
    return ~bad, RewardIntegrityError(f"the server's reward of item {packed.items[first]} can't be trusted: {problem}")


def _problem(nan: bool, fingerprint: int, expected: int) -> str:
    if fingerprint == expected:
        return "it is NaN: the model's activations overflow. Remedy: check the weights with `rewardserve inspect`"
    if nan:
        return (
            "it is NaN: the graph refused the request as malformed. Remedy: use the same rewardserve version for "
            "export and client, and score it again"
        )
    return (
        f"it was computed from other tokens than those sent (fingerprint {fingerprint}, expected {expected}). "
        "Remedy: score it again"
    )
