"""The error tree.

RewardServeError
├── InputError (ValueError)          one item of the input is wrong: `.index` says which
│   ├── TextTypeError                it isn't a string of Unicode text
│   ├── EmptyTextError               it holds no token
│   ├── DoubledBosError              it would begin with BOS twice
│   ├── ChatError                    it is no conversation, or one that the chat template refuses
│   ├── TextTooLongError             it is over the contract's `max_length`
│   └── InvalidTokensError           its token ids are malformed or outside the vocabulary
├── ServerError                      scoring failed on the way: `.partial` keeps what was computed
│   ├── ServerUnavailableError       no server answers there
│   ├── ServerOverloadedError        the server's queue is full, or a request waited too long in it
│   ├── DeadlineExceededError        no answer in time
│   ├── ModelNotFoundError           the server doesn't serve this model or version
│   ├── RequestRejectedError         the server refused the request
│   └── RewardIntegrityError         the answer must not be handed out: NaN, or a foreign fingerprint
│       └── ModelChangedError        the server serves another model by now
├── ContractError                    what is served can't be scored with
│   ├── NotARewardModelError         the model carries no reward contract
│   ├── ChatTemplateError            it has no chat template, or one that can't run
│   └── TokenizerMismatchError       the local tokenizer isn't the one the contract names
├── CheckpointError                  a checkpoint can't be read
│   ├── UntrainedHeadError           its value head was never trained
│   └── UnsupportedModelError        its architecture can't be served exactly
├── ExportError                      an export failed: the repository is as it was
│   └── ParityError                  the exported graph's rewards differ from the checkpoint's
├── ReleaseError                     a version can't take over or be retired: what is served is as the message says
├── LaunchError                      tritonserver can't be found, or didn't start
├── ForkedClientError                the client was made in another process
└── MissingExtraError (ImportError)  an optional part of rewardserve isn't installed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ChatError",
    "ChatTemplateError",
    "CheckpointError",
    "ContractError",
    "DeadlineExceededError",
    "DoubledBosError",
    "EmptyTextError",
    "ExportError",
    "ForkedClientError",
    "InputError",
    "InvalidTokensError",
    "LaunchError",
    "MissingExtraError",
    "ModelChangedError",
    "ModelNotFoundError",
    "NotARewardModelError",
    "ParityError",
    "ReleaseError",
    "RequestRejectedError",
    "RewardIntegrityError",
    "RewardServeError",
    "ServerError",
    "ServerOverloadedError",
    "ServerUnavailableError",
    "TextTooLongError",
    "TextTypeError",
    "TokenizerMismatchError",
    "TruncationWarning",
    "UnsupportedModelError",
    "UntrainedHeadError",
]


class RewardServeError(Exception):
    """Base class of every error that rewardserve raises on purpose."""


class InputError(RewardServeError, ValueError):
    """One item of the input can't be scored; nothing was sent.

    Attributes:
        index: Position of the item in the list that was passed in.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"item {index}: {message}")
        self.index = index
        self._message = message

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is pickled by its args, which hold one text here. Ray and multiprocessing pickle errors.
        return type(self), (self.index, self._message)


class TextTypeError(InputError, TypeError):
    """An item isn't a string, or holds what isn't Unicode text (a lone surrogate)."""


class EmptyTextError(InputError):
    """An item holds no token to score."""


class DoubledBosError(InputError):
    """The first two tokens of an item would both be BOS: the tokenizer adds one that the text already begins with."""


class ChatError(InputError):
    """An item isn't a list of messages, or the model's chat template refuses it."""


class TextTooLongError(InputError):
    """An item has more tokens than the contract allows, and the contract says not to truncate."""


class InvalidTokensError(InputError):
    """An item's token ids aren't a flat list of integers inside the vocabulary."""


class ServerError(RewardServeError):
    """Scoring failed at the server or on the way to it.

    Attributes:
        partial: The rewards that did arrive, float32 [n] in the order of the input, NaN where missing;
            None if the failure came before any reward was asked for.
        missing: Positions, in the input, of the items that have no reward.
        start: Position, in the input, of `partial`'s first item: 0 but for `score_iter`, which has handed out the
            rewards before it.
        retriable: Whether the same may succeed later. The client tried again as long as its timeout allowed.
    """

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.partial: NDArray[np.float32] | None = None
        self.missing: Sequence[int] = ()
        self.start = 0
        self.retriable = retriable


class ServerUnavailableError(ServerError):
    """No server answers at the address."""


class ServerOverloadedError(ServerError):
    """The server's queue is full, or the request waited in it longer than the server allows."""


class DeadlineExceededError(ServerError):
    """A request had no answer within its deadline."""


class ModelNotFoundError(ServerError):
    """The server doesn't serve this model, or no longer this version of it."""


class RequestRejectedError(ServerError):
    """The server answered a request with an error."""


class RewardIntegrityError(ServerError):
    """The server answered with a reward that must not be handed out: NaN, or of other tokens than those sent."""


class ModelChangedError(RewardIntegrityError):
    """The server serves another model than the one that the client was made for, under the same name and version."""


class ContractError(RewardServeError):
    """What the server serves can't be scored with by this client."""


class NotARewardModelError(ContractError):
    """The served model carries no reward contract: rewardserve did not export it."""


class ChatTemplateError(ContractError):
    """The model was exported without a chat template, or with one that can't run."""


class TokenizerMismatchError(ContractError):
    """The local tokenizer isn't the one that the contract names."""


class CheckpointError(RewardServeError):
    """A checkpoint can't be read."""


class UntrainedHeadError(CheckpointError):
    """The checkpoint holds no trained value head: its rewards would be random."""


class UnsupportedModelError(CheckpointError):
    """The checkpoint's architecture can't be served exactly."""


class ExportError(RewardServeError):
    """An export failed; the model repository is as it was before."""


class ParityError(ExportError):
    """The exported graph's rewards differ from the checkpoint's by more than rounding."""


class ReleaseError(RewardServeError):
    """A version can't take over, or be retired. The message says what is served."""


class LaunchError(RewardServeError):
    """Tritonserver can't be found, can't be prepared, or ended before it was ready."""


class ForkedClientError(RewardServeError):
    """The client was made before this process was forked off: gRPC's connections and threads don't survive that."""


class MissingExtraError(RewardServeError, ImportError):
    """An optional part of rewardserve isn't installed.

    Args:
        extra: Name of the extra in `pip install 'rewardserve[extra]'`.
        missing: The package that could not be imported.

    Attributes:
        extra: As given.
    """

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(f"{missing} isn't installed. Remedy: pip install 'rewardserve[{extra}]'")
        self.extra = extra
        self._missing = missing

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.extra, self._missing)


class TruncationWarning(UserWarning):
    """Texts were cut to the contract's `max_length`, as the contract says."""
