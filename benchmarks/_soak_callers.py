"""The callers of a soak: every way in which rewards are asked for, in one process."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
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
_PINNED = "version 1"
_CHAT = "score_chat"

Score = Callable[["RewardClient", Places], Any]


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

    def _clients(self, version: str | None = None) -> Iterator[RewardClient]:
        """New clients, until it is time to end; where one can't connect, that is noted, and nothing is lost by it."""
        from rewardserve import RewardClient, RewardServeError

        while not self._stop.is_set():
            began = time.monotonic()
            try:
                client = RewardClient(self._addresses.grpc, version=version, timeout=_TIMEOUT)
            except RewardServeError as error:
                self._tally.failed("connecting", type(error).__name__, str(error), began)
                time.sleep(_RETRY_SECONDS)
                continue
            with client:
                if version is None:
                    self._tally.connected(client.version, began)
                yield client

    def _call(self, caller: str, client: RewardClient, score: Score, *, count: int | None = None) -> None:
        from rewardserve import RewardServeError

        places, began, rewards = self._draw(count), time.monotonic(), None
        try:
            rewards = np.array(score(client, places), dtype=np.float32)
        except RewardServeError as error:
            self._tally.failed(caller, type(error).__name__, str(error), began)
        # One that names its version is held to it, whatever the client says.
        version = "1" if caller == _PINNED else client.version
        self._judge(caller, rewards, places, version)
        time.sleep(random.uniform(0, _LONGEST_PAUSE))

    def _calling(
        self,
        caller: str,
        score: Score,
        *,
        version: str | None = None,
        calls: int = _CALLS_OF_A_CLIENT,
        count: int | None = None,
    ) -> None:
        for client in self._clients(version):
            for _ in range(calls):
                if not self._stop.is_set():
                    self._call(caller, client, score, count=count)

    def _judge(self, caller: str, rewards: Rewards | None, places: Places, version: str | None) -> None:
        table = self._pool.chat_rewards if caller == _CHAT else self._pool.rewards
        self._tally.judge(caller, rewards, places, table, version)

    def following(self) -> None:
        """Trainers that connect anew, and get the default version."""
        self._calling("score", self._score)

    def sharing(self) -> None:
        """Threads that share one client as long as the soak lasts."""
        while not self._stop.is_set():
            self._call("score, one client", self._shared, self._score)

    def pinned(self) -> None:
        """A trainer that names its version."""
        self._calling(_PINNED, self._score, version="1")

    def pairs(self) -> None:
        """Prompts and responses."""
        self._calling("score_pairs", self._score_pairs)

    def chat(self) -> None:
        """Conversations."""
        self._calling(_CHAT, self._score_chat)

    def streaming(self) -> None:
        """Streams."""
        self._calling("score_iter", self._score_iter, calls=1, count=_STREAM)

    def _score(self, client: RewardClient, places: Places) -> Any:
        return client.score(self._chosen(places))

    def _score_pairs(self, client: RewardClient, places: Places) -> Any:
        pairs = [self._pool.pairs[place] for place in places]
        return client.score_pairs([prompt for prompt, _ in pairs], [response for _, response in pairs])

    def _score_chat(self, client: RewardClient, places: Places) -> Any:
        pairs = [self._pool.pairs[place] for place in places]
        roles = ("user", "assistant")
        return client.score_chat(
            [[{"role": role, "content": text} for role, text in zip(roles, pair, strict=True)] for pair in pairs]
        )

    def _score_iter(self, client: RewardClient, places: Places) -> Any:
        return list(client.score_iter(self._chosen(places)))

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
                self._judge(caller, got, places, None)
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
        from rewardserve import AsyncRewardClient, RewardServeError

        while not self._stop.is_set():
            began = time.monotonic()
            client = AsyncRewardClient(self._addresses.grpc, timeout=_TIMEOUT)
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(client)
                except RewardServeError as error:
                    self._tally.failed("connecting", type(error).__name__, str(error), began)
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                self._tally.connected(client.version, began)
                await asyncio.gather(*(self._task(client, task) for task in range(_TASKS)))

    async def _task(self, client: AsyncRewardClient, number: int) -> None:
        from rewardserve import RewardServeError

        for _ in range(_CALLS_OF_A_CLIENT):
            if self._stop.is_set():
                return
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
            self._judge("async score_iter" if streams else "async", rewards, places, client.version)
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))
