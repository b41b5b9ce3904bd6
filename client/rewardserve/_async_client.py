"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence, Sized
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rewardserve._answers import Result
from rewardserve._contract import Priority, RewardContract
from rewardserve._errors import InputError, RewardServeError, ServerError
from rewardserve._session import DEFAULT_TIMEOUT, ClientOptions, Session
from rewardserve._stream import WINDOWS_UNDER_WAY, Outcome, Window, windows_of_async
from rewardserve._tls import TLS
from rewardserve._transfer import Transfer

__all__ = ["AsyncRewardClient"]

_INLINE = 4
"""So few items are tokenized on the event loop: that takes less than a thread's detour."""

Prepared = TypeVar("Prepared")


class AsyncRewardClient:
    r"""`RewardClient` for asyncio: the same arguments, the same methods, the same rewards.

    Making it does nothing yet: it connects on `async with`, on `connect`, or with the first call. It may be shared
    between tasks, and between event loops. Cancelling a call cancels its requests.

    Args:
        url: As for `RewardClient`, like all arguments.
        model: The model's name in the server's repository.
        version: The model's version; None takes the server's default when it connects, and stays with it.
        tokenizer: A `tokenizer.json`, or a directory with one.
        timeout: Seconds that each request to the server may take, however often it is sent.
        share_prefixes: Whether what sequences of one call begin with in common is computed once.
        max_tokens_in_flight: Tokens that one call may have sent and not answered.
        priority: "interactive" or "bulk".
        tls: Secures the connection.
        token: A bearer token for a proxy before the server.
        headers: More headers to send.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        >>> async with AsyncRewardClient("localhost:8001") as client:  # doctest: +SKIP
        ...     rewards = await client.score(["2 + 2?\nIt is 4.", "2 + 2?\nIt is 5."])
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
        self.__setstate__(
            ClientOptions(
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
        )

    async def connect(self) -> None:
        """Connects, unless that is done, and reads the model's contract.

        Raises:
            ServerError: The server can't be reached, or doesn't serve the model; or the client is closed.
            ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
            OSError: A file of `tls` can't be read.
        """
        await self._connected()

    async def ping(self, *, timeout: float | None = None) -> None:
        """Asks whether the server answers; see `RewardClient.ping`."""
        session = await self._connected()
        await asyncio.to_thread(session.ping, session.timeout(timeout))

    @property
    def model(self) -> str:
        """The served model's name."""
        return self._options.model

    @property
    def contract(self) -> RewardContract:
        """The served model's reward contract, once the client is connected."""
        return self._require_session().contract

    @property
    def version(self) -> str:
        """The model version that this client scores with, once it is connected."""
        return self._require_session().version

    async def score(self, texts: Sequence[str], *, timeout: float | None = None) -> npt.NDArray[np.float32]:
        """Scores texts; see `RewardClient.score`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        return await self._run(texts, lambda: session.rewards(session.encode(texts, seconds), seconds))

    async def score_iter(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        timeout: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Any]:
        """Scores a stream of texts, which may be asynchronous; see `RewardClient.score_iter`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        under_way: deque[asyncio.Task[Outcome]] = deque()
        cut, more, done = windows_of_async(texts), True, 0
        try:
            while True:
                while more and len(under_way) < WINDOWS_UNDER_WAY:
                    if (window := await anext(cut, None)) is None:
                        more = False
                    else:
                        under_way.append(asyncio.create_task(self._score_window(session, window, seconds)))
                if not under_way:
                    return
                outcome = await under_way[0]
                under_way.popleft()
                done += len(outcome.rewards)
                if progress is not None:
                    progress(done)
                for reward in outcome.rewards:
                    yield reward
                if outcome.error is not None:
                    raise outcome.error
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def score_pairs(
        self, prompts: Sequence[str], responses: Sequence[str], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores responses to prompts; see `RewardClient.score_pairs`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        return await self._run(
            responses, lambda: session.rewards(session.encode(session.join(prompts, responses), seconds), seconds)
        )

    async def score_chat(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores conversations; see `RewardClient.score_chat`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        return await self._run(
            conversations,
            lambda: session.rewards(session.encode(session.render(conversations), seconds, chat=True), seconds),
        )

    async def score_tokens(
        self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores token ids as they are; see `RewardClient.score_tokens`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        return await self._run(sequences, lambda: session.rewards(session.check(sequences), seconds))

    async def values(self, texts: Sequence[str], *, timeout: float | None = None) -> list[npt.NDArray[np.float32]]:
        """The value head's output at every token of each text; see `RewardClient.values`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        session.require_values()
        return await self._run(texts, lambda: session.values(session.encode(texts, seconds), seconds))

    async def tokenize(self, texts: Sequence[str], *, timeout: float | None = None) -> list[npt.NDArray[np.int32]]:
        """The token ids that `score` sends for texts; see `RewardClient.tokenize`."""
        session = await self._connected()
        return await _prepare(session, texts, lambda: session.encode(texts, session.timeout(timeout)))

    async def values_tokens(
        self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """The value head's output at every token id; see `RewardClient.values_tokens`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        session.require_values()
        return await self._run(sequences, lambda: session.values(session.check(sequences), seconds))

    async def tokenize_chat(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, timeout: float | None = None
    ) -> list[npt.NDArray[np.int32]]:
        """The token ids that `score_chat` sends for conversations; see `RewardClient.tokenize_chat`."""
        session = await self._connected()
        seconds = session.timeout(timeout)
        return await _prepare(
            session, conversations, lambda: session.encode(session.render(conversations), seconds, chat=True)
        )

    async def token_texts(self, sequences: Sequence[Sequence[int]], *, timeout: float | None = None) -> list[list[str]]:
        """The text of each token; see `RewardClient.token_texts`."""
        session = await self._connected()
        return await _prepare(session, sequences, lambda: session.token_texts(sequences, session.timeout(timeout)))

    async def close(self) -> None:
        """Closes the connection. Calls under way end with a ServerError that keeps what they have."""
        self._closed = True
        if self._session is not None:
            await asyncio.to_thread(self._session.close)

    async def __aenter__(self) -> AsyncRewardClient:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __getstate__(self) -> ClientOptions:
        return self._options  # pickled, it connects anew where it is unpickled

    def __setstate__(self, options: ClientOptions) -> None:
        self._options = options
        self._session: Session | None = None
        self._connecting = threading.Lock()  # not asyncio's, which belongs to one event loop
        self._closed = False

    async def _connected(self) -> Session:
        if self._session is None:
            await asyncio.to_thread(self._open)
        return self._require_session()

    def _open(self) -> None:
        with self._connecting:
            if self._closed:
                raise ServerError("this client is closed. Remedy: make a new AsyncRewardClient")
            if self._session is None:
                self._session = Session(self._options)

    def _require_session(self) -> Session:
        if self._session is None:
            raise RewardServeError(
                "this client isn't connected yet. Remedy: `async with` it, or `await client.connect()`"
            )
        return self._session

    async def _run(self, items: Sized, prepare: Callable[[], Transfer[Result]]) -> Result:
        from rewardserve._async_exchange import exchange

        session = self._require_session()
        return await exchange(await _prepare(session, items, prepare), session.send)

    async def _score_window(self, session: Session, window: Window, timeout: float) -> Outcome:
        def prepare() -> Transfer[npt.NDArray[np.float32]]:
            return session.rewards(session.encode(window.texts, timeout, start=window.start), timeout)

        try:
            return Outcome(rewards=await self._run(window.texts, prepare))
        except InputError as error:
            return (await self._score_window(session, window.before(error), timeout)).followed_by(error)
        except ServerError as error:
            return Outcome.of_failure(window, error)


async def _prepare(session: Session, items: Sized, prepare: Callable[[], Prepared]) -> Prepared:
    """Tokenizes and packs, on a thread where that takes long or waits for the server's tokenizer."""
    if session.has_tokenizer and len(items) <= _INLINE:
        return prepare()
    return await asyncio.to_thread(prepare)
