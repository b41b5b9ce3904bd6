"""What callers send while the dashboard is looked at: good, malformed, poisoned, too much at once."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rewardserve import RewardClient, RewardServeError, ServerError, _wire

from benchmarks._setup import MODEL

__all__ = ["Callers"]

_PROMPT, _RESPONSE, _RESPONSES = 200, 100, 4
"""Characters, and how many responses share a prompt."""
_BURST = 200
"""Requests at once: many times what waits in the queue."""
_PAUSE = 0.2
_SECONDS = 60.0
"""Nothing here takes so long."""


class Callers:
    """Trainers of several kinds, each in a thread.

    Args:
        triton: `host:port` of its gRPC service.
        gateway: `host:port` of its HTTP service.
        dialogues: What texts are cut from.
        poison: The token whose reward isn't finite.

    Attributes:
        sent: How often what was called, by kind.
        ended: How often a call ended in which way, by kind and way.
    """

    def __init__(self, triton: str, gateway: str, dialogues: Sequence[str], poison: int) -> None:
        self._triton, self._gateway, self._poison = triton, gateway, poison
        self._dialogues = itertools.cycle(text for text in dialogues if len(text) > _PROMPT + _RESPONSE * _RESPONSES)
        self.ended: Counter[str] = Counter()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Prompts with their responses to Triton, single texts to the gateway, and some that can't be scored."""
        kinds = [self._groups, self._rollouts, self._classified, self._malformed, self._unscorable]
        with self._repeating(*kinds):
            yield

    @contextlib.contextmanager
    def poisoned(self) -> Iterator[None]:
        """Sequences whose reward is NaN, to Triton and through the gateway."""
        with self._repeating(self._nan, self._nan_classified):
            yield

    @contextlib.contextmanager
    def rambling(self) -> Iterator[None]:
        """Sequences that are like nothing the model was meant for: one token again and again."""
        with self._repeating(self._repetitions):
            yield

    def burst(self) -> None:
        """Requests that all come at once, from callers that don't try again; then some that are given up at once."""
        tokens = [list(range(10, 60))] * _BURST
        self._raw("burst", tokens, timeout=_SECONDS)
        self._raw("given up", tokens[:20], timeout=0.1)

    @contextlib.contextmanager
    def _repeating(self, *kinds: Callable[[], None]) -> Iterator[None]:
        over = threading.Event()

        def repeat(kind: Callable[[], None]) -> None:
            while not over.is_set():
                kind()
                over.wait(_PAUSE)

        threads = [threading.Thread(target=repeat, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _groups(self) -> None:
        text = next(self._dialogues)
        prompt, rest = text[:_PROMPT], text[_PROMPT:]
        responses = [rest[start : start + _RESPONSE] for start in range(0, _RESPONSE * _RESPONSES, _RESPONSE)]
        self._score("prompt with responses", lambda client: client.score([prompt + response for response in responses]))

    def _repetitions(self) -> None:
        token = int(np.random.default_rng(time.monotonic_ns()).integers(10, 200))
        self._score("repetitions", lambda client: client.score_tokens([[token] * 100, [token + 1] * 80]))

    def _nan(self) -> None:
        self._score("poisoned", lambda client: client.score_tokens([[10, 11, 12], [10, self._poison, 12]]))

    def _rollouts(self) -> None:
        self._post("/get_reward", {"query": [next(self._dialogues)[:_PROMPT]]})

    def _classified(self) -> None:
        self._post("/classify", {"model": MODEL, "input": next(self._dialogues)[:_PROMPT], "use_activation": False})

    def _nan_classified(self) -> None:
        self._post("/classify", {"model": MODEL, "input": [10, self._poison, 12], "use_activation": False})

    def _unscorable(self) -> None:
        self._post("/get_reward", {"query": [""]})

    def _malformed(self) -> None:
        self._raw("malformed", [[10, 11, 12]], timeout=_SECONDS, surplus=6)

    def _score(self, kind: str, call: Callable[[RewardClient], Any]) -> None:
        try:
            with RewardClient(self._triton, timeout=_SECONDS) as client:
                call(client)
        except RewardServeError as error:
            self._count(kind, error.__cause__ if isinstance(error, ServerError) and error.__cause__ else error)
        else:
            self._count(kind, None)

    def _post(self, path: str, body: Any) -> None:
        request = urllib.request.Request(
            f"http://{self._gateway}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with error:
                self.ended[f"{path}: {error.code}"] += 1
        except (OSError, http.client.HTTPException):
            self.ended[f"{path}: no connection"] += 1
        else:
            self.ended[f"{path}: 200"] += 1

    def _raw(self, kind: str, sequences: Sequence[Sequence[int]], *, timeout: float, surplus: int = 0) -> None:
        """Each sequence as a request of its own, all at once, straight to Triton."""
        import tritonclient.grpc as triton

        over: list[Exception | None] = []
        all_over = threading.Event()

        def done(_: Any, error: Exception | None) -> None:
            over.append(error)
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
                client.async_infer(MODEL, inputs, done, client_timeout=timeout)
            all_over.wait()
        for error in over:
            self._count(kind, error)

    def _count(self, kind: str, error: BaseException | None) -> None:
        self.ended[f"{kind}: {'answered' if error is None else type(error).__name__}"] += 1
