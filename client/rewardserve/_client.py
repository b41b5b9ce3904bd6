"""The synchronous client."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardserve import _core
from rewardserve._answers import Answers, Result, Rewards, Values
from rewardserve._contract import RewardContract, tokenizer_model
from rewardserve._errors import ContractError
from rewardserve._exchange import exchange
from rewardserve._pairs import join_pairs
from rewardserve._tokenizer import Encoder, load_tokenizer

__all__ = ["RewardClient"]

DEFAULT_TIMEOUT = 300.0
"""Seconds. A queue of full batches on a CPU takes minutes; no healthy server takes more."""


class RewardClient:
    r"""Scores texts with a reward model that a Triton server serves.

    The client reads the model's reward contract from the server and obeys it: which tokenizer, which special tokens,
    how long. It may be shared between threads; their requests merge into the server's batches.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: The model's name in the server's repository.
        tokenizer: A `tokenizer.json`, or a directory with one; it must be the exported one. None takes it from the
            local cache, or from the server.
        timeout: Seconds that each request to the server may take.
        share_prefixes: Whether sequences of one call that begin alike have that part computed once, and equal ones
            everything, where that saves work. Rewards are the same up to rounding. Encoders never share.

    Raises:
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
        ValueError: The timeout isn't a positive, finite number.

    Example:
        >>> with RewardClient("localhost:8001") as client:  # doctest: +SKIP
        ...     rewards = client.score(["2 + 2?\nIt is 4.", "2 + 2?\nIt is 5."])
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str = "reward",
        tokenizer: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        share_prefixes: bool = True,
    ) -> None:
        from rewardserve._connection import Connection

        self._model = model
        self._timeout = _core.check_timeout(timeout)
        self._share_prefixes = share_prefixes
        self._tokenizer_path = tokenizer
        self._encoder: Encoder | None = None
        self._encoder_lock = threading.Lock()
        self._connection = Connection(url)
        try:
            self._version = self._connection.latest_version(model, timeout)
            settings = self._connection.settings(model, self._version, timeout)
            self._contract = RewardContract.from_parameters(settings.parameters, model=model, version=self._version)
            self._workers = settings.instances
            if tokenizer is not None:
                self._get_encoder(timeout)
        except BaseException:
            self.close()
            raise

    @property
    def contract(self) -> RewardContract:
        """The served model's reward contract."""
        return self._contract

    @property
    def version(self) -> str:
        """The model version that this client scores with, whatever is loaded later."""
        return self._version

    def score(self, texts: Sequence[str], *, timeout: float | None = None) -> npt.NDArray[np.float32]:
        """Scores texts.

        Args:
            texts: Whole texts, prompt and response, as the reward model saw them in training.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            float32 [n], one reward a text, in order; [n, K] where the contract names K labels.

        Raises:
            InputError: A text is empty, too long, no string, or begins with BOS twice; nothing was sent.
            ServerError: Some rewards are missing; `.partial` holds the others.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.

        Warns:
            TruncationWarning: Texts were cut, where the contract says so.
        """
        sequences = self._tokenize(texts, timeout)
        return self._score(sequences, self._timeout if timeout is None else timeout)

    def score_pairs(
        self, prompts: Sequence[str], responses: Sequence[str], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores responses to prompts: each pair joined as the contract says, and then scored like any text.

        No chat template is applied to them, whatever the model: a prompt that is one already went through it, and
        conversations are for `score_chat`.

        Args:
            prompts: One a response; several responses to one prompt repeat it.
            responses: One a prompt, each with what ended it in training.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            float32 [n], one reward a pair, in order; [n, K] where the contract names K labels.

        Raises:
            InputError: There are more prompts than responses, or the reverse; or as for `score`. Nothing was sent.
            ServerError: Some rewards are missing; `.partial` holds the others.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.

        Warns:
            TruncationWarning: Pairs were cut, where the contract says so.
        """
        sequences = self._tokenize(join_pairs(prompts, responses, self._contract.tokenization), timeout)
        return self._score(sequences, self._timeout if timeout is None else timeout)

    def score_chat(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores conversations, rendered by the model's own chat template.

        The last message is the response that is scored; no generation prompt follows it. Rendering and tokenizing are
        transformers' `apply_chat_template`: no special token is added to what the template writes.

        Args:
            conversations: Each a list of messages, `{"role": …, "content": …}` and what else the template reads.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            float32 [n], one reward a conversation, in order; [n, K] where the contract names K labels.

        Raises:
            ChatTemplateError: The model has no chat template, or one that can't run.
            ChatError: An item isn't a conversation, or the template refuses it; nothing was sent.
            InputError: A rendered conversation is too long, or begins with BOS twice; nothing was sent.
            ServerError: Some rewards are missing; `.partial` holds the others.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.

        Warns:
            TruncationWarning: Conversations were cut, where the contract says so.
        """
        from rewardserve._chat import render_chats

        texts = render_chats(conversations, self._contract.tokenization)
        sequences = self._tokenize(texts, timeout, chat=True)
        return self._score(sequences, self._timeout if timeout is None else timeout)

    def score_tokens(
        self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores token ids as they are: nothing is added, and the last token is the one that is scored.

        Args:
            sequences: Token ids of each sequence.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            float32 [n], one reward a sequence, in order; [n, K] where the contract names K labels.

        Raises:
            InputError: A sequence is empty, too long, or outside the vocabulary; nothing was sent.
            ServerError: Some rewards are missing; `.partial` holds the others.
        """
        timeout = self._timeout if timeout is None else _core.check_timeout(timeout)
        return self._score(_core.check_tokens(sequences, self._contract), timeout)

    def values(self, texts: Sequence[str], *, timeout: float | None = None) -> list[npt.NDArray[np.float32]]:
        """The value head's output at every token of each text: where its reward comes from.

        Args:
            texts: As for `score`.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            One float32 [t] a text; the last number is the text's reward. `tokenize` gives the tokens.

        Raises:
            ContractError: The model was exported without `--values`.
            InputError: A text is empty, too long, or no string; nothing was sent.
            ServerError: Some values are missing; `.partial` holds the last value of each of the others.
        """
        if not self._contract.values:
            raise ContractError(f"model {self._model!r} answers no values. Remedy: export it with --values")
        sequences = self._tokenize(texts, timeout)
        answers = Values(len(sequences), identity=self._contract.identity)
        return self._collect(sequences, answers, self._timeout if timeout is None else timeout)

    def tokenize(self, texts: Sequence[str], *, timeout: float | None = None) -> list[npt.NDArray[np.int32]]:
        """The token ids that `score` sends for texts, by the model's reward contract.

        Args:
            texts: As for `score`.
            timeout: Seconds that fetching the tokenizer may take; the client's by default.

        Returns:
            One int32 [t] a text.

        Raises:
            InputError: A text is empty, too long, or no string.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.
        """
        return self._tokenize(texts, timeout)

    def close(self) -> None:
        """Closes the connection. Calls under way in other threads end with a ServerError that keeps what they have."""
        self._connection.close()

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _tokenize(
        self, texts: Sequence[str], timeout: float | None, *, chat: bool = False
    ) -> list[npt.NDArray[np.int32]]:
        timeout = self._timeout if timeout is None else _core.check_timeout(timeout)
        if isinstance(texts, str):
            raise TypeError("texts must be a list, not one string. Remedy: pass [text]")
        if not len(texts):
            return []
        return _core.encode_texts(self._get_encoder(timeout), texts, self._contract, chat=chat)

    def _score(self, sequences: list[npt.NDArray[np.int32]], timeout: float) -> npt.NDArray[np.float32]:
        labels = self._contract.labels
        answers = Rewards(len(sequences), len(labels) if labels else None, identity=self._contract.identity)
        return self._collect(sequences, answers, timeout)

    def _collect(self, sequences: list[npt.NDArray[np.int32]], answers: Answers[Result], timeout: float) -> Result:
        packed_requests = _core.packed_requests(
            sequences, self._contract, workers=self._workers, share_prefixes=self._share_prefixes
        )
        requests = (
            (packed, _core.infer_request(packed, self._model, self._version, answers.outputs))
            for packed in packed_requests
        )
        return exchange(requests, lambda request: self._connection.infer(request, timeout), answers)

    def _get_encoder(self, timeout: float) -> Encoder:
        with self._encoder_lock:
            if self._encoder is None:
                tokenization = self._contract.tokenization
                tokenizer = load_tokenizer(
                    tokenization.tokenizer_sha256,
                    self._tokenizer_path,
                    lambda: self._connection.tokenizer(
                        tokenizer_model(self._model), tokenization.tokenizer_sha256, timeout
                    ),
                )
                self._encoder = Encoder(tokenizer, tokenization)
            return self._encoder
