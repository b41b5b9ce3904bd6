"""Resident memory of processes over time, and whether it grows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LARGEST_GROWTH", "MemoryWatch", "Slope", "slope"]

LARGEST_GROWTH = 64e6
"""Bytes an hour. A leak of 10 bytes for each of a soak's texts would be above it."""
JUDGED_SECONDS = 900.0
"""What is left of a soak behind its warm-up, for growth to be judged: allocators settle for some minutes."""

_EVERY = 5.0
_WARM_UP_SECONDS = 300.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KEPT = 400
"""Points of a curve in the document."""


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A line through samples, by least squares.

    Attributes:
        per_hour: Bytes.
        standard_error: Of that, as if samples were independent of each other.
    """

    per_hour: float
    standard_error: float


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Fits a line to at least three samples."""
    x, y = np.array(seconds) / 3600, np.array(values)
    centred = x - x.mean()
    per_hour = float((centred * y).sum() / (centred**2).sum())
    residuals = y - y.mean() - per_hour * centred
    return Slope(
        per_hour=per_hour,
        standard_error=float(np.sqrt((residuals**2).sum() / (len(x) - 2) / (centred**2).sum())),
    )


class MemoryWatch:
    """Samples processes in a thread.

    Args:
        processes: Gives the process ids of each name, as they are at the time.
    """

    def __init__(self, processes: Callable[[], Mapping[str, int]]) -> None:
        self._processes = processes
        self._began = time.monotonic()
        self._samples: dict[str, list[tuple[float, int, int]]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            for name, pid in self._processes().items():
                try:
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                except OSError:  # ended meanwhile
                    continue
                self._samples.setdefault(name, []).append((time.monotonic() - self._began, pid, pages * _PAGE))

    def latest(self) -> int:
        """Bytes, of all."""
        return sum(samples[-1][2] for samples in self._samples.values())

    def stop(self) -> dict[str, Any]:
        """What was found, for each name."""
        self._done.set()
        self._thread.join()
        return {name: _figures(samples) for name, samples in sorted(self._samples.items())}


def _figures(samples: Sequence[tuple[float, int, int]]) -> dict[str, Any]:
    last = samples[-1][0]
    warm_up = min(_WARM_UP_SECONDS, last / 3)
    warm = [(seconds, memory) for seconds, _, memory in samples if seconds >= warm_up]
    figures: dict[str, Any] = {
        "first_bytes": samples[0][2],
        "largest_bytes": max(memory for *_, memory in samples),
        "last_bytes": samples[-1][2],
        "processes": len({pid for _, pid, _ in samples}),
        "warm_up_seconds": warm_up,
    }
    if len(warm) > 2:
        line = slope(*zip(*warm, strict=True))
        figures |= {
            "bytes_per_hour": line.per_hour,
            "standard_error": line.standard_error,
            "judged": last - warm_up >= JUDGED_SECONDS,
            "grows": line.per_hour - 2 * line.standard_error > LARGEST_GROWTH,
        }
    step = -(-len(samples) // _KEPT)
    figures["seconds_and_bytes"] = [[round(seconds), memory] for seconds, _, memory in samples[::step]]
    return figures
