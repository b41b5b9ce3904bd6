"""`batch-invariance`: what a reward owes to its company."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks._graphs import identity, newest_version, runner
from benchmarks._ours import CONFIGURATIONS, exported
from benchmarks._pairs import Pairs, reference_pairs
from benchmarks._setup import BenchmarkError, Setup, say

if TYPE_CHECKING:
    from rewardserve_export.parity import Composition, Scorer

__all__ = ["batch_invariance"]

Composed = Callable[["Composition"], "Scorer"]

TEXTS, LONGEST, COMPOSITIONS = 24, 400, 30
PAIR_COMPOSITIONS = 2
REQUEST_TOKENS = 2048


def batch_invariance(setup: Setup) -> dict[str, Any]:
    """Deviation of rewards over random batch compositions, in the graph itself, and the decisions that it flips."""
    from rewardserve_export.parity import packed_scorer

    pairs = reference_pairs(setup.checkpoint_model, setup.data_file)
    measured: dict[str, Any] = {}
    unavailable: dict[str, str] = {}
    for configuration in CONFIGURATIONS:
        if not setup.takes_part(f"rewardserve/{configuration.name}"):
            continue
        try:
            version = newest_version(exported(setup.checkpoint_model, configuration))
            composed = partial(packed_scorer, runner(version), identity=identity(version))
        except BenchmarkError as error:
            unavailable[configuration.name] = str(error)
            continue
        say(f"batch-invariance: {configuration.name}")
        measured[configuration.name] = {**_deviation(composed, _cut(pairs)), "pairs": _flips(composed, pairs)}
    return {
        "what": (
            f"the exported graph, in this process; {TEXTS} texts of 1 to {LONGEST} tokens in random order, cut at "
            f"random into requests and those into batches, {COMPOSITIONS} times; the range of each text's rewards. "
            f"pairs: the dialogues of {len(pairs.sequences) // 2} preference pairs, {PAIR_COMPOSITIONS} such "
            "compositions; how many pairs are decided one way in one composition and the other way in another"
        ),
        "compositions": COMPOSITIONS,
        "configurations": measured,
        "unavailable": unavailable,
    }


def _cut(pairs: Pairs) -> list[npt.NDArray[np.int32]]:
    """Dialogues cut to lengths that are spread on a logarithmic scale."""
    long_enough = iter(ids for ids in pairs.sequences if len(ids) >= LONGEST)
    lengths = np.rint(np.geomspace(1, LONGEST, TEXTS)).astype(int).tolist()
    return [np.array(next(long_enough)[:length], dtype=np.int32) for length in lengths]


def _deviation(composed: Composed, sequences: list[npt.NDArray[np.int32]]) -> dict[str, Any]:
    from rewardserve_export.parity import each_its_own_request

    alone = np.concatenate([composed(each_its_own_request)([sequence]) for sequence in sequences])
    table = _table(composed, sequences, COMPOSITIONS)
    spread = np.ptp(table, axis=0)
    return {
        "largest_deviation": float(spread.max()),
        "median_deviation": float(np.median(spread)),
        "largest_difference_from_alone": float(np.abs(table - alone).max()),
        "rewards": {"lowest": float(alone.min()), "highest": float(alone.max()), "std": float(alone.std())},
    }


def _flips(composed: Composed, pairs: Pairs) -> dict[str, Any]:
    table = _table(composed, [np.array(ids, dtype=np.int32) for ids in pairs.sequences], PAIR_COMPOSITIONS)
    decisions = np.stack([pairs.decisions(rewards) for rewards in table])
    return {
        "flipped": int((decisions.min(axis=0) != decisions.max(axis=0)).sum()),
        "largest_deviation": float(np.ptp(table, axis=0).max()),
    }


def _table(composed: Composed, sequences: list[npt.NDArray[np.int32]], count: int) -> npt.NDArray[np.float32]:
    """Rewards in several random compositions [count, n]."""
    from rewardserve_export.parity import shuffled

    return np.stack([composed(shuffled(seed, REQUEST_TOKENS))(sequences) for seed in range(count)])
