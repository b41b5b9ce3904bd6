"""The callers of a soak: every way in which rewards are asked for, in one process."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from benchmarks._faults_callers import Rewards
from benchmarks._soak_tally import Places, Pool, Tally
from benchmarks._soak_worker import Stop

if TYPE_CHECKING:
    from rewardserve import AsyncRewardClient, RewardClient

__all__ = ["Addresses", "run_callers"]

_THREADS = 4
_TASKS = 6
_CALLS_OF_A_CLIENT = 50
_STREAM = 1500
_LARGEST_CALL = 24
_LONGEST_PAUSE = 0.05
"""Seconds between two calls of a caller, so that the server isn't always busy with as much as it can."""
_TIMEOUT = 120.0
"""Seconds; no fault lasts as long."""
_RETRY_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the callers call.

    Attributes:
        grpc: Of the replicas.
        http: URLs of the replicas.
        gateway: URL.
    """

    grpc: Sequence[str]
    http: Sequence[str]
    gateway: str


def run_callers(addresses: Addresses, pool: Pool, tally: Tally, stop: Stop) -> None:
    """Calls until it is told to stop; then every call under way ends."""
    logging.getLogger("rewardserve").setLevel(logging.ERROR)  # each retry would be a line
    callers = _Callers(addresses, pool, tally, stop)
    targets: list[Callable[[], None]] = [
        *[callers.following] * _THREADS,
        *[callers.sharing] * 2,
        *[callers.pinned] * 2,
        callers.pairs,
        callers.chat,
        callers.streaming,
        callers.gateway,
        callers.classify,
        callers.text_model,
        lambda: asyncio.run(callers.tasks()),
    ]
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Callers:
    def __init__(self, addresses: Addresses, pool: Pool, tally: Tally, stop: Stop) -> None:
        from rewardserve import RewardClient

        self._addresses, self._pool, self._tally, self._stop = addresses, pool, tally, stop
        self._texts = [prompt + response for prompt, response in pool.pairs]
        self._shared = RewardClient(addresses.grpc, timeout=_TIMEOUT)

    def _draw(self, count: int | None = None) -> Places:
        """Places in the pool."""
        count = count or random.randint(1, _LARGEST_CALL)
        return np.array(random.choices(range(len(self._texts)), k=count))

    def _chosen(self, places: Places) -> list[str]:
        return [self._texts[place] for place in places]

    @contextmanager
    def _client(self, caller: str, version: str | None = None) -> Iterator[RewardClient]:
        """A new client; an error of its own is noted, and nothing is lost by it."""
        from rewardserve import RewardClient, RewardServeError

        began = time.monotonic()
        try:
            with RewardClient(self._addresses.grpc, version=version, timeout=_TIMEOUT) as client:
                if version is None:
                    self._tally.connected(client.version, began)
                yield client
        except RewardServeError as error:
            self._tally.failed(caller, type(error).__name__, str(error), began)

    def _call(
        self, caller: str, version: str, score: Callable[[Places], Any], *, count: int | None = None, chat: bool = False
    ) -> None:
        from rewardserve import RewardServeError

        places, began, rewards = self._draw(count), time.monotonic(), None
        try:
            rewards = np.array(score(places), dtype=np.float32)
        except RewardServeError as error:
            self._tally.failed(caller, type(error).__name__, str(error), began)
        self._judge(caller, rewards, places, version, chat=chat)
        time.sleep(random.uniform(0, _LONGEST_PAUSE))

    def _judge(self, caller: str, rewards: Rewards | None, places: Places, version: str | None, *, chat: bool) -> None:
        table = self._pool.chat_rewards if chat else self._pool.rewards
        self._tally.judge(caller, rewards, places, table, version)

    def _calls(self) -> Iterator[None]:
        for _ in range(_CALLS_OF_A_CLIENT):
            if self._stop.is_set():
                return
            yield

    def following(self) -> None:
        """Trainers that connect anew, and get the default version."""
        while not self._stop.is_set():
            with self._client("score") as client:
                for _ in self._calls():
                    self._call("score", client.version, lambda places: client.score(self._chosen(places)))

    def sharing(self) -> None:
        """Threads that share one client as long as the soak lasts."""
        client = self._shared
        while not self._stop.is_set():
            self._call("score, one client", client.version, lambda places: client.score(self._chosen(places)))

    def pinned(self) -> None:
        """A trainer that names its version."""
        while not self._stop.is_set():
            with self._client("version 1", version="1") as client:
                for _ in self._calls():
                    self._call("version 1", "1", lambda places: client.score(self._chosen(places)))

    def pairs(self) -> None:
        """Prompts and responses."""
        while not self._stop.is_set():
            with self._client("score_pairs") as client:
                for _ in self._calls():
                    self._call(
                        "score_pairs",
                        client.version,
                        lambda places: client.score_pairs(*self._prompts_and_responses(places)),
                    )

    def _prompts_and_responses(self, places: Places) -> tuple[list[str], list[str]]:
        pairs = [self._pool.pairs[place] for place in places]
        return [prompt for prompt, _ in pairs], [response for _, response in pairs]

    def chat(self) -> None:
        """Conversations."""
        while not self._stop.is_set():
            with self._client("score_chat") as client:
                for _ in self._calls():
                    self._call(
                        "score_chat",
                        client.version,
                        lambda places: client.score_chat(self._dialogues(places)),
                        chat=True,
                    )

    def _dialogues(self, places: Places) -> list[list[dict[str, str]]]:
        return [
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
            for prompt, response in (self._pool.pairs[place] for place in places)
        ]

    def streaming(self) -> None:
        """Streams."""
        while not self._stop.is_set():
            with self._client("score_iter") as client:
                self._call(
                    "score_iter",
                    client.version,
                    lambda places: list(client.score_iter(self._chosen(places))),
                    count=_STREAM,
                )

    def gateway(self) -> None:
        """As OpenRLHF calls it."""
        url = f"{self._addresses.gateway}/get_reward"
        self._posting(
            "gateway",
            [url],
            lambda texts: {"query": texts, "prompts": texts, "labels": texts},
            lambda found: found["rewards"],
        )

    def classify(self) -> None:
        """As verl calls it."""
        url = f"{self._addresses.gateway}/classify"
        self._posting(
            "gateway /classify",
            [url],
            lambda texts: {"model": "reward", "input": texts},
            lambda found: [item["probs"][0] for item in found["data"]],
        )

    def text_model(self) -> None:
        """As curl calls it; the other replica when one fails."""
        self._posting(
            "text model",
            [f"{url}/v2/models/reward_text/infer" for url in self._addresses.http],
            lambda texts: {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}]},
            lambda found: found["outputs"][0]["data"],
        )

    def _posting(
        self, caller: str, urls: Sequence[str], body: Callable[[list[str]], Any], rewards: Callable[[Any], list[float]]
    ) -> None:
        with httpx.Client(timeout=_TIMEOUT) as http:
            while not self._stop.is_set():
                places = self._draw()
                found = self._posted(http, caller, urls, body(self._chosen(places)))
                got = None if found is None else np.array(rewards(found), dtype=np.float32)
                self._judge(caller, got, places, None, chat=False)
                time.sleep(random.uniform(0, _LONGEST_PAUSE))

    def _posted(self, http: httpx.Client, caller: str, urls: Sequence[str], body: Any) -> Any:
        """The answer; None if there is none within the timeout, whatever is tried."""
        deadline = time.monotonic() + _TIMEOUT
        attempt = random.randrange(len(urls))
        while (began := time.monotonic()) < deadline:
            try:
                answer = http.post(urls[attempt % len(urls)], json=body)
                if answer.status_code == httpx.codes.OK:
                    return answer.json()
                self._tally.failed(caller, f"HTTP {answer.status_code}", answer.text, began)
            except httpx.HTTPError as error:
                self._tally.failed(caller, type(error).__name__, str(error), began)
            attempt += 1
            time.sleep(_RETRY_SECONDS)
        return None

    async def tasks(self) -> None:
        """Tasks that share clients of their event loop."""
        while not self._stop.is_set():
            async with self._async_client() as client:
                await asyncio.gather(*(self._task(client, task) for task in range(_TASKS)))

    @asynccontextmanager
    async def _async_client(self) -> AsyncIterator[AsyncRewardClient]:
        from rewardserve import AsyncRewardClient, RewardServeError

        began = time.monotonic()
        try:
            async with AsyncRewardClient(self._addresses.grpc, timeout=_TIMEOUT) as client:
                self._tally.connected(client.version, began)
                yield client
        except RewardServeError as error:
            self._tally.failed("async", type(error).__name__, str(error), began)

    async def _task(self, client: AsyncRewardClient, number: int) -> None:
        from rewardserve import RewardServeError

        for _ in self._calls():
            streams = number == 0
            places, began, rewards = self._draw(_STREAM // 5 if streams else None), time.monotonic(), None
            texts = self._chosen(places)
            try:
                if streams:
                    rewards = np.array([reward async for reward in client.score_iter(texts)], dtype=np.float32)
                else:
                    rewards = await client.score(texts)
            except RewardServeError as error:
                self._tally.failed("async", type(error).__name__, str(error), began)
            self._judge("async score_iter" if streams else "async", rewards, places, client.version, chat=False)
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))
