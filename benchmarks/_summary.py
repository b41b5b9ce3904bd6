"""Repeated measurements, summed up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["interleaved", "percentiles", "ratios", "summary"]


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Median and spread of repeated measurements, in the unit of the values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """What half, 95% and 99% of the values don't exceed."""
    middle, most, nearly_all = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50": middle, "p95": most, "p99": nearly_all}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float | int]:
    """Median and spread of quotients taken run by run, so that what slows the machine for a while slows both sides."""
    return summary([above / below for above, below in zip(numerators, denominators, strict=True)])


def interleaved(cases: Mapping[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Times several cases in turn, after one run of each to warm up, so that noise of the machine hits all alike.

    Returns:
        Seconds of each run, for each case.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(runs + 1):
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds
