"""A served model as one client sees it: its contract, its tokenizer, and the transfers that score with it.

What the synchronous and the asynchronous client share. Connecting, and the first use of the tokenizer, wait for the
server; nothing else here does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rewardserve import _core
from rewardserve._answers import Answers, Result, Rewards, Values
from rewardserve._contract import PRIORITIES, Priority, RewardContract, is_version, tokenizer_model
from rewardserve._errors import ContractError, ForkedClientError
from rewardserve._pairs import join_pairs
from rewardserve._tls import TLS
from rewardserve._tokenizer import Encoder, load_tokenizer
from rewardserve._transfer import Transfer

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    from rewardserve._connection import InferCall
    from rewardserve._packing import PackedRequest

__all__ = ["DEFAULT_TIMEOUT", "ClientOptions", "Session"]

DEFAULT_TIMEOUT = 300.0
"""Seconds. A queue of full batches on a CPU takes minutes, and so does a restart; nothing healthy takes more."""

_REQUESTS_IN_FLIGHT = 64
"""Enough to fill the batches of several instances, and a bound on what waits in memory for one call."""


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """What a client is made with; see `RewardClient`."""

    url: str | Sequence[str]
    model: str
    version: str | None
    tokenizer: str | os.PathLike[str] | None
    timeout: float
    share_prefixes: bool
    max_tokens_in_flight: int | None
    priority: Priority | None
    tls: TLS | None
    token: str | None
    headers: Mapping[str, str] | None

    def __post_init__(self) -> None:
        _core.check_timeout(self.timeout)
        if self.max_tokens_in_flight is not None and self.max_tokens_in_flight < 1:
            raise ValueError(f"max_tokens_in_flight is {self.max_tokens_in_flight}. Remedy: at least 1")
        if self.version is not None and not is_version(str(self.version)):
            raise ValueError(f"version is {self.version!r}. Remedy: the number of a version, such as '1'")
        if self.priority not in (None, *PRIORITIES):
            raise ValueError(f"priority is {self.priority!r}. Remedy: one of {', '.join(PRIORITIES)}")


class Session:
    """Connects, and reads the model's contract.

    Args:
        options: The client's.

    Attributes:
        contract: The served model's.
        version: The model's version, whatever is loaded later.

    Raises:
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
    """

    def __init__(self, options: ClientOptions) -> None:
        from rewardserve._connection import Connection

        self._options = options
        self._process = os.getpid()
        self._encoder: Encoder | None = None
        self._encoder_lock = threading.Lock()
        self._connection = Connection(options.url, tls=options.tls, token=options.token, headers=options.headers)
        try:
            self.version = self._connection.find_version(options.model, options.version, options.timeout)
            settings = self._connection.settings(options.model, self.version, options.timeout)
            self.contract = RewardContract.from_parameters(
                settings.parameters, model=options.model, version=self.version
            )
            self._workers = settings.instances * self._connection.replicas
            if options.tokenizer is not None:
                self._get_encoder(options.timeout)
        except BaseException:
            self.close()
            raise

    @property
    def has_tokenizer(self) -> bool:
        """Whether the tokenizer is there: then `encode` doesn't wait for the server."""
        return self._encoder is not None

    def timeout(self, given: float | None) -> float:
        """A call's timeout, checked; by default the client's. The first thing that every call asks for.

        Raises:
            ForkedClientError: The client was made in another process.
            ValueError: It isn't a positive, finite number.
        """
        if os.getpid() != self._process:
            raise ForkedClientError(
                f"this client was made in process {self._process}, before process {os.getpid()} was forked off: its "
                "connection doesn't work here. Remedy: make a client in each process, behind the fork; or start "
                "processes with multiprocessing's 'spawn'"
            )
        return self._options.timeout if given is None else _core.check_timeout(given)

    def encode(
        self, texts: Sequence[str], timeout: float, *, chat: bool = False, start: int = 0
    ) -> list[npt.NDArray[np.int32]]:
        """Tokenizes texts by the contract; see `_core.encode_texts`."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list, not one string. Remedy: pass [text]")
        if not len(texts):
            return []
        return _core.encode_texts(self._get_encoder(timeout), texts, self.contract, chat=chat, start=start)

    def token_texts(self, sequences: Sequence[Sequence[int]], timeout: float) -> list[list[str]]:
        """The text of each token of each sequence."""
        checked = self.check(sequences)
        encoder = self._get_encoder(timeout)
        return [encoder.token_texts(sequence.tolist()) for sequence in checked]

    def join(self, prompts: Sequence[str], responses: Sequence[str]) -> list[str]:
        """Joins prompts and responses as the contract says."""
        return join_pairs(prompts, responses, self.contract.tokenization)

    def render(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        """Renders conversations by the contract's chat template."""
        from rewardserve._chat import render_chats

        return render_chats(conversations, self.contract.tokenization)

    def check(self, sequences: Sequence[Sequence[int]]) -> list[npt.NDArray[np.int32]]:
        """Checks token ids that a caller gives."""
        return _core.check_tokens(sequences, self.contract)

    def vocabulary(self) -> dict[str, int]:
        """The tokens of the model's tokenizer, and their ids."""
        return self._get_encoder(self.timeout(None)).vocabulary()

    def rewards(self, sequences: list[npt.NDArray[np.int32]], timeout: float) -> Transfer[npt.NDArray[np.float32]]:
        """A transfer of the sequences, for their rewards."""
        return self._transfer(sequences, Rewards.of(self.contract, len(sequences)), timeout)

    def values(self, sequences: list[npt.NDArray[np.int32]], timeout: float) -> Transfer[list[npt.NDArray[np.float32]]]:
        """A transfer of the sequences, for the values at their tokens."""
        return self._transfer(sequences, Values(len(sequences), identity=self.contract.identity), timeout)

    def require_values(self) -> None:
        """Checks that the model answers values.

        Raises:
            ContractError: It doesn't.
        """
        if not self.contract.values:
            raise ContractError(f"model {self._options.model!r} answers no values. Remedy: export it with --values")

    def ping(self, timeout: float) -> None:
        """Asks whether the server answers, and has this version of the model loaded.

        Raises:
            ServerError: It hasn't.
        """
        self._connection.settings(self._options.model, self.version, timeout)

    def send(self, request: ModelInferRequest, timeout: float) -> InferCall:
        """Sends a request and returns at once."""
        return self._connection.infer(request, timeout)

    def close(self) -> None:
        """Closes the connection; calls under way end with an error."""
        self._connection.close()

    def _transfer(
        self, sequences: list[npt.NDArray[np.int32]], answers: Answers[Result], timeout: float
    ) -> Transfer[Result]:
        limit = self._options.max_tokens_in_flight
        if limit is None:
            limit = _REQUESTS_IN_FLIGHT * self.contract.max_request_tokens * self._connection.replicas
        requests = self._requests(sequences, answers.outputs)
        return Transfer(requests, answers, timeout=timeout, max_tokens_in_flight=limit)

    def _requests(
        self, sequences: list[npt.NDArray[np.int32]], outputs: Sequence[str]
    ) -> Iterator[tuple[PackedRequest, ModelInferRequest]]:
        packed_requests = _core.packed_requests(
            sequences, self.contract, workers=self._workers, share_prefixes=self._options.share_prefixes
        )
        for packed in packed_requests:
            yield (
                packed,
                _core.infer_request(
                    packed, self._options.model, self.version, outputs, priority=self._options.priority
                ),
            )

    def _get_encoder(self, timeout: float) -> Encoder:
        with self._encoder_lock:
            if self._encoder is None:
                tokenization = self.contract.tokenization
                tokenizer = load_tokenizer(
                    tokenization.tokenizer_sha256,
                    self._options.tokenizer,
                    lambda: self._connection.tokenizer(
                        tokenizer_model(self._options.model), tokenization.tokenizer_sha256, timeout
                    ),
                )
                self._encoder = Encoder(tokenizer, tokenization)
            return self._encoder
