"""What an export keeps of its reference, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rewardserve import ExportError, InputError
from rewardserve._contract import Normalization
from rewardserve_export import ExportOptions, RewardReference, export
from rewardserve_export._reference import reference_of_normalization, reference_of_rewards


def test_distribution_of_rewards() -> None:
    rewards = np.random.default_rng(0).normal(3, 2, (1000, 2)).astype(np.float32)
    reference = reference_of_rewards(rewards)
    assert (reference.texts, reference.mean) == (1000, pytest.approx(rewards[:, 0].mean(), abs=1e-6))
    assert reference.std == pytest.approx(rewards[:, 0].std(), abs=1e-6)
    assert reference.deciles is not None
    tenths = np.searchsorted(reference.deciles, rewards[:, 0])
    assert np.bincount(tenths).tolist() == [100] * 10
    assert RewardReference(**json.loads(reference.to_json())).mean == reference.mean


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([*range(99), np.nan], "item 99 is nan"),
        ([np.inf, *range(99)], "item 0 is inf"),
    ],
)
def test_rewards_without_a_distribution(rewards: list[float], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        reference_of_rewards(np.array(rewards, dtype=np.float32))


def test_equal_rewards_have_no_deciles() -> None:
    reference = reference_of_rewards(np.array([0.0] * 70 + [1.0] * 30, dtype=np.float32))
    assert (reference.mean, reference.deciles) == (pytest.approx(0.3), None)


@pytest.mark.parametrize(
    ("normalization", "known"),
    [
        (None, False),
        (Normalization(mean=0.5, std=2.0), True),
        (Normalization(mean=0.5), False),  # config.json has no std
        (Normalization(std=2.0), False),  # and here no mean
        (Normalization(), False),
    ],
)
def test_normalization_is_a_reference_where_both_numbers_were_measured(
    normalization: Normalization | None, known: bool
) -> None:
    expected = RewardReference(texts=None, mean=0.0, std=1.0, deciles=None) if known else None
    assert reference_of_normalization(normalization) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": ("a text",) * 99}, "has 99 texts"),
        ({"reference": ()}, "has 0 texts"),
        ({"reference": ("a text",) * 100, "backend": "onnxruntime"}, "only the Python backend has"),
    ],
)
def test_options(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(repository=tmp_path, **options)  # type: ignore[arg-type]


def test_a_text_that_cannot_be_scored_is_found_before_tracing(metrics_checkpoint: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    texts = tuple(f"text {number}" for number in range(100))
    options = ExportOptions(repository=tmp_path / "repository", max_length=24, reference=(*texts, "a" * 500))
    with pytest.raises(InputError, match="item 100"):
        export(metrics_checkpoint, options, lambda step, *_: steps.append(step))
    assert "loading weights" in steps
    assert "tracing the packed graph" not in steps
    assert list(tmp_path.iterdir()) == []
