"""The served model, as it is now: a server that was restarted with another one is connected to anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rewardserve import InputError, RewardClient, RewardServeError

__all__ = ["ServedModel"]


class ServedModel:
    """One client for all threads, made when it is needed.

    Args:
        connect: Makes a client.
    """

    def __init__(self, connect: Callable[[], RewardClient]) -> None:
        self._connect = connect
        self._client: RewardClient | None = None
        self._connecting = threading.Lock()

    @contextmanager
    def client(self) -> Iterator[RewardClient]:
        """The client. After an error that isn't the input's, the next call gets a new one.

        Raises:
            ServerError: The server can't be reached, or doesn't serve the model.
            ContractError: The model isn't one that rewardserve exported, or the tokenizer isn't its own.
        """
        with self._connecting:
            client = self._client = self._client or self._connect()
        try:
            yield client
        except InputError:
            raise
        except RewardServeError:
            # A client stays with the model it was made for. Other calls may be under way on it, so it isn't closed.
            if self._client is client:
                self._client = None
            raise

    def close(self) -> None:
        """Closes the connection; calls under way end with an error."""
        if self._client is not None:
            self._client.close()
