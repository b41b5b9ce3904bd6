"""What this model tells Prometheus, beside Triton's own metrics.

Telling Triton one number takes some 15 us, and a histogram takes one number a reward. So a request only notes what
there is to count, and a thread adds it up and tells it a little later. Whatever goes wrong here costs no reward.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .totals import totals_of

__all__ = ["Metrics"]

INTERVAL = 0.5
"""Seconds between two tellings: less than any scrape's interval."""

PENDING = 10_000
"""Runs, and malformed requests, that may wait to be told: more than come in an interval."""

BUCKETS = [-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0]
"""Of the histogram, for a model without a reference."""

COUNTERS = {
    "sequences": "Sequences computed.",
    "invalid_sequences": "Sequences of malformed requests, which were refused.",
    "nan_rewards": "Sequences computed whose reward is NaN or infinite.",
    "tokens": "Tokens computed.",
    "padding_tokens_avoided": "Tokens that batches padded to their longest sequence would have had more.",
    "prefix_tokens_saved": "Tokens not computed because sequences share them.",
    "rewards": "Finite rewards: what the sums are over.",
    "reward_positive": "Sum of the positive rewards.",
    "reward_negative": "Sum of the negative rewards' absolute values.",
    "reward_squares": "Sum of the rewards' squares.",
}


class Metrics:
    """Of one instance of a model.

    Args:
        args: As Triton gives them to `initialize`.
        directory: Of the model's version; it may hold a `reference.json`.
        padded: Whether the graph pads its sequences.
    """

    def __init__(self, args: dict[str, str], directory: Path, *, padded: bool) -> None:
        self._padded = padded
        self._runs: deque[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = deque(maxlen=PENDING)
        self._invalid: deque[int] = deque(maxlen=PENDING)
        # Triton counts a series' owners per process: when one of two owners ends, the other's next number would go to
        # memory that is freed, and end the server. So each process has series of its own.
        self._labels = {"model": args["model_name"], "version": args["model_version"], "process": str(os.getpid())}
        self._families: list[Any] = []
        self._counters: dict[str, Any] = {}
        self._histogram: Any = None
        self._deciles: list[float] = []
        self._tenths: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell_on, name="metrics", daemon=True)
        try:
            self._open(json.loads(args["model_config"]), directory / "reference.json")
        except Exception as error:  # any: a server without these metrics is a server
            _warn(error)
            self.close()
        else:
            self._thread.start()

    def count_run(self, segments: npt.NDArray[np.int32], rewards: npt.NDArray[np.float32]) -> None:
        """Notes a run: the graph's input `segments` and output `rewards`, neither in memory of Triton's."""
        self._runs.append((segments, rewards))

    def count_invalid(self, segments: npt.NDArray[np.int32]) -> None:
        """Notes a malformed request by its `segments`, of whatever shape; without any it counts as one sequence."""
        self._invalid.append(max(1, segments.size // 2))

    def close(self) -> None:
        """Gives the series up while Triton listens: later, the stub of tritonserver 24.10 would crash over them."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10 * INTERVAL)
        if not self._thread.is_alive():
            self._counters, self._tenths, self._histogram = {}, [], None
            self._families.clear()

    def _open(self, config: dict[str, Any], reference: Path) -> None:
        kinds = pb_utils.MetricFamily
        for name, text in COUNTERS.items():
            self._counters[name] = self._family(f"{name}_total", text, kinds.COUNTER).Metric(labels=self._labels)
        expected = json.loads(reference.read_text()) if reference.exists() else {}
        self._deciles = expected.get("deciles") or []
        rewards = self._family("reward", "Finite rewards.", kinds.HISTOGRAM)
        self._histogram = rewards.Metric(labels=self._labels, buckets=self._deciles or BUCKETS)
        if self._deciles:
            text = "Finite rewards by the tenth, 1 to 10, of the reference's that they fall into."
            tenths = self._family("reward_decile_total", text, kinds.COUNTER)
            self._tenths = [tenths.Metric(labels={**self._labels, "decile": str(tenth)}) for tenth in range(1, 11)]
        for name in ("mean", "std") if expected else ():
            self._gauge(f"reward_reference_{name}", f"The {name} of the reference's rewards.", expected[name])
        # Triton 24.10 counts no request that a full queue refuses. Somebody may have edited the configuration.
        policy = config.get("dynamic_batching", {}).get("default_queue_policy", {})
        text = "Requests of each priority that may wait; 0 is any number."
        self._gauge("queue_size", text, policy.get("max_queue_size", 0))

    def _gauge(self, name: str, text: str, value: float) -> None:
        self._family(name, text, pb_utils.MetricFamily.GAUGE).Metric(labels=self._labels).set(value)

    def _family(self, name: str, text: str, kind: Any) -> Any:
        family = pb_utils.MetricFamily(name=f"rewardserve_{name}", description=text, kind=kind)
        self._families.append(family)
        return family

    def _tell_on(self) -> None:
        try:
            while not self._stop.wait(INTERVAL):
                self._tell()
        except Exception as error:  # any: what comes from now on is dropped
            _warn(error)

    def _tell(self) -> None:
        totals: Counter[str] = Counter()
        found = [np.empty(0)]
        while self._invalid:
            totals["invalid_sequences"] += self._invalid.popleft()
        while self._runs:
            sums, finite = totals_of(*self._runs.popleft(), padded=self._padded)
            totals.update(sums)
            found.append(finite)
        rewards = np.concatenate(found)
        for reward in rewards.tolist():
            self._histogram.observe(reward)
        counts = np.bincount(np.searchsorted(self._deciles, rewards), minlength=10)
        for tenth, count in zip(self._tenths, counts.tolist(), strict=False):  # no tenths without deciles
            if count:
                tenth.increment(count)
        for name, value in totals.items():
            if value:
                self._counters[name].increment(float(value))


def _warn(error: Exception) -> None:
    pb_utils.Logger.log_warn(f"there are no rewardserve metrics from now on: {error!r}")
