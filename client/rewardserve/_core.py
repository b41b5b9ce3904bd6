"""What every client does before it sends: tokenize, check, and put requests into the protocol's form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rewardserve import _wire
from rewardserve._contract import PRIORITIES, Priority, RewardContract
from rewardserve._errors import (
    InvalidTokensError,
    TextTooLongError,
    TruncationWarning,
)
from rewardserve._packing import PackedRequest, pack
from rewardserve._tokenizer import Encoder

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferRequest

__all__ = ["check_timeout", "check_tokens", "encode_texts", "infer_request", "packed_requests"]


_TEXTS_AT_ONCE = 1024
"""Texts tokenized together: what a tokenizer makes of a text takes many times the memory of its ids."""


def check_timeout(timeout: float) -> float:
    """Gives the timeout back.

    Raises:
        ValueError: It isn't a positive, finite number of seconds: gRPC would take it for a deadline that has passed.
    """
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout is {timeout}. Remedy: a positive, finite number of seconds")
    return timeout


def encode_texts(
    encoder: Encoder, texts: Sequence[str], contract: RewardContract, *, chat: bool = False, start: int = 0
) -> list[npt.NDArray[np.int32]]:
    """Tokenizes texts by the contract; warns with a TruncationWarning where it cut some.

    Args:
        encoder: The contract's.
        texts: Whole texts.
        contract: The served model's.
        chat: Whether the texts are rendered conversations.
        start: Position of the first text, for errors and warnings.

    Raises:
        InputError: A text can't be scored.
    """
    remedy = "Remedy: export the model with the tokenizer it was trained with, which knows no more tokens than it"
    sequences: list[npt.NDArray[np.int32]] = []
    truncated: list[int] = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        encoded, cut = encoder.encode(texts[first : first + _TEXTS_AT_ONCE], chat=chat, start=start + first)
        part = [np.array(ids, dtype=np.int32) for ids in encoded]
        # All at once: one by one, this check would take longer than all others.
        if _outside(np.concatenate(part), contract.vocab_size).size:
            for index, sequence in enumerate(part, start + first):
                _check_vocabulary(index, sequence, contract.vocab_size, remedy)
        sequences += part
        truncated += cut
    if truncated:
        count = "1 text was" if len(truncated) == 1 else f"{len(truncated)} texts were"
        shown = ", ".join(map(str, truncated[:10])) + (", …" if len(truncated) > 10 else "")
        limit = contract.tokenization.max_length
        warnings.warn(f"{count} truncated to {limit} tokens: items {shown}", TruncationWarning, stacklevel=4)
    return sequences


def check_tokens(sequences: Sequence[Sequence[int]], contract: RewardContract) -> list[npt.NDArray[np.int32]]:
    """Checks token ids given by a caller.

    Raises:
        InvalidTokensError: An item isn't a flat, non-empty list of ids inside the vocabulary.
        TextTooLongError: An item is over the contract's `max_length`; token ids are never truncated.
    """
    return [_check_sequence(index, sequence, contract) for index, sequence in enumerate(sequences)]


def _check_sequence(index: int, sequence: Sequence[int], contract: RewardContract) -> npt.NDArray[np.int32]:
    remedy = "Remedy: pass a list of token ids for each sequence"
    try:
        ids = np.asarray(sequence)
    except (ValueError, TypeError) as error:  # ragged lists; tensors that aren't on the CPU
        raise InvalidTokensError(index, f"isn't a flat list of token ids ({error}). {remedy}") from error
    if ids.ndim != 1 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        found = f"shape {list(ids.shape)} and type {ids.dtype}"
        raise InvalidTokensError(index, f"must be a flat, non-empty list of integers, has {found}. {remedy}")
    _check_vocabulary(index, ids, contract.vocab_size, "Remedy: pass ids of the model's own tokenizer")
    limit = contract.tokenization.max_length
    if ids.size > limit:
        raise TextTooLongError(
            index, f"has {ids.size} tokens, the model was exported for at most {limit}. Remedy: shorten it"
        )
    return ids.astype(np.int32)


def _check_vocabulary(index: int, ids: npt.NDArray[Any], vocab_size: int, remedy: str) -> None:
    if (outside := _outside(ids, vocab_size)).size:
        first = outside[0]
        raise InvalidTokensError(
            index, f"token {first} is {ids[first]}, outside the vocabulary of {vocab_size}. {remedy}"
        )


def _outside(ids: npt.NDArray[Any], vocab_size: int) -> npt.NDArray[np.intp]:
    return np.flatnonzero((ids < 0) | (ids >= vocab_size))


def packed_requests(
    sequences: Sequence[npt.NDArray[np.int32]], contract: RewardContract, *, workers: int, share_prefixes: bool
) -> Iterator[PackedRequest]:
    """Packs the sequences of one call as the contract allows.

    Args:
        sequences: Token ids, checked.
        contract: The served model's.
        workers: Requests that the server computes at a time.
        share_prefixes: Whether common prefixes are sent once, where the model allows it.
    """
    return pack(
        sequences,
        contract.max_request_tokens,
        workers=workers,
        share=share_prefixes and not contract.bidirectional,
        padded=contract.padded,
    )


def infer_request(
    packed: PackedRequest, model: str, version: str, outputs: Sequence[str], *, priority: Priority | None = None
) -> ModelInferRequest:
    """The packed request as a message of the KServe v2 protocol, asking for some of the wire contract's outputs."""
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    request = ModelInferRequest(model_name=model, model_version=version)
    if priority is not None:
        request.parameters["priority"].uint64_param = PRIORITIES[priority]
    for name, tensor in ((_wire.INPUT_IDS, packed.input_ids), (_wire.SEGMENTS, packed.segments)):
        request.inputs.add(name=name, datatype="INT32", shape=[1, *tensor.shape])
        request.raw_input_contents.append(tensor.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    return request
