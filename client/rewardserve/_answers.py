"""What every client does with what it receives: read it, check it, put it in the order of the input."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rewardserve import _wire
from rewardserve._contract import RewardContract
from rewardserve._errors import ModelChangedError, RequestRejectedError, RewardIntegrityError, ServerError
from rewardserve._packing import PackedRequest

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

__all__ = ["Answers", "Rewards", "Values"]

Result = TypeVar("Result")


class Answers(ABC, Generic[Result]):
    """Collects the answers of one call, in any order, and gives them back in the order of the input.

    Args:
        count: Items in the input.
        identity: The reward contract's: of the model that must have computed the answers.
    """

    outputs: ClassVar[tuple[str, ...]]
    """The wire contract's outputs to ask for."""

    def __init__(self, count: int, *, identity: int) -> None:
        self._identity = identity
        self._last_offset = 0
        self._missing = np.ones(count, dtype=bool)
        self._failure: ServerError | None = None
        self._server_failed = False

    @property
    def server_failed(self) -> bool:
        """Whether a failure concerns the server or the connection, not one request: sending more is of no use."""
        return self._server_failed

    def take(self, packed: PackedRequest, response: ModelInferResponse) -> RewardIntegrityError | None:
        """Takes what can be trusted of the answer to one request; the error is about the rest, if there is any.

        It is `retriable` where the answer is about other tokens than those sent: that is an accident.
        """
        outputs = zip(response.outputs, response.raw_output_contents, strict=False)
        return self.take_raw(packed, {output.name: part for output, part in outputs})

    def take_raw(self, packed: PackedRequest, raw: dict[str, bytes]) -> RewardIntegrityError | None:
        """As `take`, from the content of each output by its name, however it came."""
        try:
            found = _read(raw, _wire.FINGERPRINTS, np.int32, (len(packed.segments),))[packed.ends]
            # A prefix that is nobody's sequence isn't looked at: what continues it covers its tokens.
            expected = _wire.identified(packed.fingerprints[packed.ends], self._identity)
            own = found == expected
            if not own.any() and self._is_of_another_model(packed, found, expected):
                return ModelChangedError(_MODEL_CHANGED)
            nan = self._take(packed, raw, own)
        except _IncompleteError as incomplete:
            # Of another request, perhaps: a server whose processes were stopped for seconds mixes answers up.
            return RewardIntegrityError(str(incomplete), retriable=True)
        good = own & ~nan
        self._missing[packed.items[good]] = False
        if good.all():
            return None
        first = min(np.flatnonzero(~good), key=packed.items.__getitem__)
        problem = _problem(bool(nan[first]), int(found[first]), int(expected[first]), alone=_is_alone(packed))
        message = f"the server's reward of item {packed.items[first]} can't be trusted: {problem}"
        return RewardIntegrityError(message, retriable=not own.all())

    def fail(self, error: ServerError) -> None:
        """Notes that answers are missing; the first error is the one that is raised, unless a later one explains it."""
        model_changed = isinstance(error, ModelChangedError)
        if self._failure is None or model_changed:
            self._failure = error
        self._server_failed |= model_changed or not isinstance(error, RequestRejectedError | RewardIntegrityError)

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

    def _is_of_another_model(
        self, packed: PackedRequest, found: npt.NDArray[np.int32], expected: npt.NDArray[np.int32]
    ) -> bool:
        """Whether all fingerprints, each of them wrong, are off by the same number, as another identity makes them.

        Other tokens do that to one sequence, not to two. Requests of one sequence are compared with the one before.
        """
        offsets = np.unique((found.astype(np.int64) - expected) % _wire.FINGERPRINT_MODULUS)
        if offsets.size != 1 or found.min() < 0:  # -1: the request was refused
            return False
        before, self._last_offset = self._last_offset, int(offsets[0])
        return not _is_alone(packed) or before == self._last_offset

    @abstractmethod
    def _take(self, packed: PackedRequest, raw: dict[str, bytes], own: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Keeps one request's good answers, given which items [M] have their own fingerprint; says which hold NaN."""

    @abstractmethod
    def _result(self) -> Result: ...

    @abstractmethod
    def _partial(self) -> npt.NDArray[np.float32]: ...


class Rewards(Answers[npt.NDArray[np.float32]]):
    """Rewards float32 [n], or [n, K].

    Args:
        count: Items in the input.
        labels: K, or None for one reward an item.
        identity: The reward contract's.
    """

    outputs = (_wire.REWARDS, _wire.FINGERPRINTS)

    def __init__(self, count: int, labels: int | None = None, *, identity: int) -> None:
        super().__init__(count, identity=identity)
        self._shape = () if labels is None else (labels,)
        self._rewards = np.full((count, *self._shape), np.nan, dtype=np.float32)

    @classmethod
    def of(cls, contract: RewardContract, count: int) -> Rewards:
        """For so many items of a call to the model with this contract."""
        labels = contract.labels
        return cls(count, len(labels) if labels else None, identity=contract.identity)

    def _take(self, packed: PackedRequest, raw: dict[str, bytes], own: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        rewards = _read(raw, _wire.REWARDS, np.float32, (len(packed.segments), *self._shape))[packed.ends]
        nan: npt.NDArray[np.bool_] = np.isnan(rewards).reshape(packed.items.size, -1).any(axis=1)
        good = own & ~nan
        self._rewards[packed.items[good]] = rewards[good]
        return nan

    def _result(self) -> npt.NDArray[np.float32]:
        return self._rewards

    def _partial(self) -> npt.NDArray[np.float32]:
        return self._rewards


class Values(Answers[list[npt.NDArray[np.float32]]]):
    """The value head's output at every token: one float32 [t] an item."""

    outputs = (_wire.VALUES, _wire.FINGERPRINTS)

    def __init__(self, count: int, *, identity: int) -> None:
        super().__init__(count, identity=identity)
        self._values: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * count

    def _take(self, packed: PackedRequest, raw: dict[str, bytes], own: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        values = _read(raw, _wire.VALUES, np.float32, (packed.input_ids.size,))
        parts = np.split(values, np.cumsum(packed.segments[:-1, 0]))
        prefixes = packed.ends - packed.segments[packed.ends, 1]
        whole = [
            np.concatenate([parts[prefix], parts[end]] if prefix != end else [parts[end]])
            for prefix, end in zip(prefixes.tolist(), packed.ends.tolist(), strict=True)
        ]
        nan = np.array([bool(np.isnan(each).any()) for each in whole])
        for place in np.flatnonzero(own & ~nan):
            self._values[packed.items[place]] = whole[place]
        return nan

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
            f"the server answered {len(content)} bytes of {name} where {expected} were expected. Remedy: make a new "
            "client, if the server serves another model by now; with rewardserve's embedded server, check that its "
            "Python environment has numpy<2"
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def _is_alone(packed: PackedRequest) -> bool:
    """Whether all items of the request are one and the same sequence."""
    return bool((packed.ends == packed.ends[0]).all())


_MODEL_CHANGED = (
    "the server now serves another model than the one that this client was made for, under the same name and version: "
    "none of its rewards is handed out. Remedy: make a new client; if a run must not change its reward model, serve "
    "the earlier export again"
)


def _problem(nan: bool, fingerprint: int, expected: int, *, alone: bool) -> str:
    if fingerprint == expected:
        return "it is NaN: the model's activations overflow. Remedy: check the weights with `rewardserve inspect`"
    if nan:
        return (
            "it is NaN: the graph refused the request as malformed. Remedy: use the same rewardserve version for "
            "export and client, and score it again; make a new client, if the server serves another model by now"
        )
    # Of one sequence, the fingerprint can't tell which.
    other, remedy = (" or by another model", ", and if it fails again, make a new client") if alone else ("", "")
    return (
        f"it was computed from other tokens than those sent{other} (fingerprint {fingerprint}, expected {expected}). "
        f"Remedy: score it again{remedy}"
    )
