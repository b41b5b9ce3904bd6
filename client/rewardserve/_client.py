"""The synchronous client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from rewardserve._answers import Result
from rewardserve._contract import Priority, RewardContract
from rewardserve._exchange import Exchange
from rewardserve._session import DEFAULT_TIMEOUT, ClientOptions, Session
from rewardserve._stream_threads import score_stream
from rewardserve._tls import TLS
from rewardserve._transfer import Transfer

__all__ = ["RewardClient"]


class RewardClient:
    r"""Scores texts with a reward model that a Triton server serves.

    The client reads the model's reward contract from the server and obeys it: which tokenizer, which special tokens,
    how long. It may be shared between threads; their requests merge into the server's batches.

    A request that fails in passing (a full queue, a lost connection, a server that is being restarted) is sent again,
    to another replica where there are several, until its timeout is over.

    Args:
        url: `host:port` of the server's gRPC endpoint. Several of them, or gRPC's name of a group (`dns:///host:port`,
            such as a headless Kubernetes service), are replicas: the same model, to which requests go in turn. The
            hosts of several are looked up once; those of a name again whenever a connection is lost.
        model: The model's name in the server's repository.
        version: The model's version, such as "1". None takes the server's default when the client connects, and stays
            with it: the version that was promoted, or else the highest one.
        tokenizer: A `tokenizer.json`, or a directory with one; it must be the exported one. None takes it from the
            local cache, or from the server.
        timeout: Seconds that each request to the server may take, however often it is sent.
        share_prefixes: Whether sequences of one call that begin alike have that part computed once, and equal ones
            everything, where that saves work. Rewards are the same up to rounding. Encoders never share.
        max_tokens_in_flight: Tokens that one call may have sent without an answer yet; by default those of 64 full
            requests a replica.
        priority: "interactive" goes before the "bulk" of others in the server's queue; None is bulk, too.
        tls: Secures the connection; None sends everything in the clear.
        token: A bearer token for a proxy before the server. Without `tls` anybody on the way can read it.
        headers: More headers to send, such as the `triton-grpc-protocol-…` of a restricted protocol.

    Raises:
        ServerError: The server can't be reached, or doesn't serve the model.
        ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
        ValueError: An argument is outside its range.
        OSError: A file of `tls` can't be read.

    Example:
        >>> with RewardClient("localhost:8001") as client:  # doctest: +SKIP
        ...     rewards = client.score(["2 + 2?\nIt is 4.", "2 + 2?\nIt is 5."])
    """

    def __init__(  # noqa: PLR0913 - each is keyword-only but the first
        self,
        url: str | Sequence[str] = "localhost:8001",
        *,
        model: str = "reward",
        version: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        share_prefixes: bool = True,
        max_tokens_in_flight: int | None = None,
        priority: Priority | None = None,
        tls: TLS | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._options = ClientOptions(
            url=url,
            model=model,
            version=version,
            tokenizer=tokenizer,
            timeout=timeout,
            share_prefixes=share_prefixes,
            max_tokens_in_flight=max_tokens_in_flight,
            priority=priority,
            tls=tls,
            token=token,
            headers=headers,
        )
        self._session = Session(self._options)

    @property
    def model(self) -> str:
        """The served model's name."""
        return self._options.model

    @property
    def contract(self) -> RewardContract:
        """The served model's reward contract."""
        return self._session.contract

    @property
    def version(self) -> str:
        """The model version that this client scores with, whatever is loaded later."""
        return self._session.version

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
        timeout = self._session.timeout(timeout)
        return self._run(self._session.rewards(self._session.encode(texts, timeout), timeout))

    def score_iter(
        self,
        texts: Iterable[str],
        *,
        timeout: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Any]:
        """Scores a stream of texts, in windows of some hundred; memory stays flat, however many there are.

        Args:
            texts: As for `score`; read only as far as the rewards are taken, but for about a thousand.
            timeout: Seconds that each request to the server may take; the client's by default.
            progress: Called with the number of rewards that are there, whenever there are more.

        Yields:
            One reward a text, in order: float32, or float32 [K] where the contract names K labels.

        Raises:
            InputError: A text can't be scored. The rewards of those before it were handed out.
            ServerError: As for `score`. The rewards before the first one missing were handed out; `.partial` holds
                what arrived behind it, from position `.start` on.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.

        Warns:
            TruncationWarning: Texts were cut, where the contract says so.
        """
        return score_stream(self._session, texts, self._session.timeout(timeout), progress)

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
        timeout = self._session.timeout(timeout)
        sequences = self._session.encode(self._session.join(prompts, responses), timeout)
        return self._run(self._session.rewards(sequences, timeout))

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
        timeout = self._session.timeout(timeout)
        sequences = self._session.encode(self._session.render(conversations), timeout, chat=True)
        return self._run(self._session.rewards(sequences, timeout))

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
        timeout = self._session.timeout(timeout)
        return self._run(self._session.rewards(self._session.check(sequences), timeout))

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
        timeout = self._session.timeout(timeout)
        self._session.require_values()
        return self._run(self._session.values(self._session.encode(texts, timeout), timeout))

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
        return self._session.encode(texts, self._session.timeout(timeout))

    def values_tokens(
        self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """The value head's output at every token id, as they are: `values` of what `tokenize_chat` gives, for instance.

        Args:
            sequences: Token ids of each sequence.
            timeout: Seconds that each request to the server may take; the client's by default.

        Returns:
            One float32 [t] a sequence; the last number is its reward.

        Raises:
            ContractError: The model was exported without `--values`.
            InputError: A sequence is empty, too long, or outside the vocabulary; nothing was sent.
            ServerError: Some values are missing; `.partial` holds the last value of each of the others.
        """
        timeout = self._session.timeout(timeout)
        self._session.require_values()
        return self._run(self._session.values(self._session.check(sequences), timeout))

    def tokenize_chat(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float | None = None
    ) -> list[npt.NDArray[np.int32]]:
        """The token ids that `score_chat` sends for conversations, by the model's reward contract.

        Args:
            conversations: As for `score_chat`.
            timeout: Seconds that fetching the tokenizer may take; the client's by default.

        Returns:
            One int32 [t] a conversation.

        Raises:
            ChatTemplateError: The model has no chat template, or one that can't run.
            InputError: An item isn't a conversation, is too long, or begins with BOS twice.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.
        """
        timeout = self._session.timeout(timeout)
        return self._session.encode(self._session.render(conversations), timeout, chat=True)

    def token_texts(self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None) -> list[list[str]]:
        """The text of each token, to show beside its value; a sequence's texts, joined, are the text it stands for.

        Args:
            sequences: Token ids of each sequence, as `tokenize` gives them.
            timeout: Seconds that fetching the tokenizer may take; the client's by default.

        Returns:
            One list of texts a sequence, a text each token: "" where it only begins a character that a later one ends.

        Raises:
            InputError: A sequence is empty, too long, or outside the vocabulary.
            ContractError: The tokenizer, fetched on the first call, isn't the model's own.
        """
        return self._session.token_texts(sequences, self._session.timeout(timeout))

    def ping(self, *, timeout: float | None = None) -> None:
        """Asks whether the server answers, and still has this version of the model loaded.

        Args:
            timeout: Seconds that the answer may take; the client's by default.

        Raises:
            ServerError: It doesn't, or hasn't.
        """
        self._session.ping(self._session.timeout(timeout))

    def close(self) -> None:
        """Closes the connection. Calls under way in other threads end with a ServerError that keeps what they have."""
        self._session.close()

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> ClientOptions:
        return self._options  # pickled, it connects anew where it is unpickled

    def __setstate__(self, options: ClientOptions) -> None:
        self._options = options
        self._session = Session(options)

    def _run(self, transfer: Transfer[Result]) -> Result:
        return Exchange(transfer, self._session.send).run()
