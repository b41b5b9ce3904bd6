"""What callers send while the dashboard is looked at: good, malformed, poisoned, too much at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rewardserve import RewardClient, RewardServeError, _wire

from benchmarks._dashboard_texts import Texts
from benchmarks._setup import MODEL, BenchmarkError

__all__ = ["Callers"]

_LOWEST, _TRIED, _TIMES = 10, 3000, range(2, 34)
"""Token ids that are special in no tokenizer; how many are tried for the best; how often it is repeated."""
_BURST, _FEW = 100, 8
"""Requests at once: many times what may wait; and less than that."""
_PAUSE = 0.2
_SECONDS = 60.0
"""Nothing here takes so long."""


class Callers:
    """Trainers of several kinds, each in a thread.

    Args:
        client: To Triton; it stays the caller's.
        triton: `host:port` of its gRPC service.
        gateway: `host:port` of its HTTP service.
        texts: What they send.
        poison: The token whose reward isn't finite.

    Attributes:
        ended: How many calls ended in which way, by kind and way.
    """

    def __init__(self, client: RewardClient, triton: str, gateway: str, texts: Texts, poison: int) -> None:
        self._client, self._triton, self._gateway, self._poison = client, triton, gateway, poison
        self._good, self._bad = [_LOWEST] * 3, [_LOWEST, poison, _LOWEST]
        # Each is used by one thread.
        self._groups, self._rollouts, self._classified = (texts.groups() for _ in range(3))
        self.ended: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Prompts with their responses to Triton, single texts to the gateway, and some that can't be scored."""
        with self._repeating(self._group, self._rollout, self._classify, self._malformed, self._unscorable):
            yield

    @contextlib.contextmanager
    def poisoned(self) -> Iterator[None]:
        """Sequences whose reward is NaN, to Triton and through the gateway."""
        with self._repeating(self._nan, self._nan_classified):
            yield

    @contextlib.contextmanager
    def hacking(self) -> Iterator[None]:
        """A policy that has found the token that the model likes best, and says nothing else."""
        tokens = np.random.default_rng(0).integers(_LOWEST, self._poison, _TRIED).tolist()
        rewards = self._client.score_tokens([[token] * _TIMES[0] for token in tokens])
        best = tokens[int(rewards.argmax())]
        responses = [[best] * times for times in _TIMES]
        with self._repeating(lambda: self._score("hacked", lambda: self._client.score_tokens(responses))):
            yield

    @contextlib.contextmanager
    def bursting(self) -> Iterator[None]:
        """Requests that come all at once, that may not wait, that are given up at once; nobody tries again."""
        tokens = [list(range(_LOWEST, _LOWEST + 50))] * _BURST

        def burst() -> None:
            self._raw("burst", tokens)
            self._raw("impatient", tokens[:_FEW], queue_seconds=0.001)
            self._raw("given up", tokens[:_FEW], seconds=0.1)

        with self._repeating(burst):
            yield

    @contextlib.contextmanager
    def _repeating(self, *kinds: Callable[[], None]) -> Iterator[None]:
        over = threading.Event()

        def repeat(kind: Callable[[], None]) -> None:
            while not over.is_set():
                kind()
                over.wait(_PAUSE)

        with ThreadPoolExecutor(len(kinds)) as pool:
            repeated = [pool.submit(repeat, kind) for kind in kinds]
            try:
                yield
            finally:
                over.set()
        for calls in repeated:
            calls.result()

    def _group(self) -> None:
        self._score("prompt with responses", lambda: self._client.score(next(self._groups)))

    def _nan(self) -> None:
        self._score("poisoned", lambda: self._client.score_tokens([self._good, self._bad]))

    def _rollout(self) -> None:
        self._post("/get_reward", {"query": next(self._rollouts)[:1]})

    def _classify(self) -> None:
        self._post("/classify", {"model": MODEL, "input": next(self._classified)[0], "use_activation": False})

    def _nan_classified(self) -> None:
        self._post("/classify", {"model": MODEL, "input": self._bad, "use_activation": False})

    def _unscorable(self) -> None:
        self._post("/get_reward", {"query": [""]})

    def _malformed(self) -> None:
        self._raw("malformed", [self._good], surplus=6)

    def _score(self, kind: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except RewardServeError as error:
            self._note(f"{kind}: {type(error).__name__}")
        else:
            self._note(f"{kind}: answered")

    def _post(self, path: str, body: Any) -> None:
        request = urllib.request.Request(
            f"http://{self._gateway}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with error:
                self._note(f"{path}: {error.code}")
        except (OSError, http.client.HTTPException):
            self._note(f"{path}: no connection")
        else:
            self._note(f"{path}: 200")

    def _raw(
        self,
        kind: str,
        sequences: Sequence[Sequence[int]],
        *,
        seconds: float = _SECONDS,
        queue_seconds: float = _SECONDS,
        surplus: int = 0,
    ) -> None:
        """Each sequence as a request of its own, all at once, straight to Triton."""
        import tritonclient.grpc as triton

        over: list[str] = []
        all_over = threading.Event()

        def done(result: Any, error: Any) -> None:
            over.append("answered" if error is None else str(error.status()))
            if len(over) == len(sequences):
                all_over.set()

        with triton.InferenceServerClient(self._triton) as client:
            for tokens in sequences:
                inputs = []
                segments = [[len(tokens) + surplus, 0]]
                for name, values in ((_wire.INPUT_IDS, tokens), (_wire.SEGMENTS, segments)):
                    array = np.array([values], np.int32)
                    inputs.append(triton.InferInput(name, array.shape, "INT32"))
                    inputs[-1].set_data_from_numpy(array)
                client.async_infer(MODEL, inputs, done, client_timeout=seconds, timeout=round(queue_seconds * 1e6))
            if not all_over.wait(2 * _SECONDS):
                raise BenchmarkError(f"{len(sequences) - len(over)} requests of `{kind}` got no answer")
        self._note(*(f"{kind}: {way}" for way in over))

    def _note(self, *ways: str) -> None:
        with self._lock:
            self.ended.update(ways)
