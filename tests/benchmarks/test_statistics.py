from __future__ import annotations

import pytest

from benchmarks._summary import percentiles, ratios, summary


def test_summary_is_the_median_with_its_spread() -> None:
    assert summary([3.0, 1.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0, "runs": 3}


def test_percentiles_of_one_to_a_hundred() -> None:
    found = percentiles([float(value) for value in range(101)])
    assert found == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_ratios_are_taken_run_by_run() -> None:
    # The machine is ten times slower in the second run, for both sides: the ratio stays what it is.
    found = ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])
    assert found == {"median": 2.0, "min": 2.0, "max": 2.0, "runs": 3}


def test_ratios_need_the_same_runs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])
