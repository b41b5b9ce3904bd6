"""`pair-decisions`: which of two dialogues is better, by what is served and by transformers in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks._ours import CONFIGURATIONS
from benchmarks._pairs import COUNT, Pairs, reference_pairs
from benchmarks._processes import Cores, pinned
from benchmarks._rounds import our_entry, running
from benchmarks._servers import Server
from benchmarks._setup import Setup, say

__all__ = ["pair_decisions"]


def pair_decisions(setup: Setup) -> dict[str, Any]:
    """The checkpoint, served in each configuration, on 500 preference pairs."""
    cores, model = Cores.chosen(), setup.checkpoint_model
    pairs = reference_pairs(model, setup.data_file)
    wanted = [entry for entry in map(our_entry, CONFIGURATIONS) if setup.takes_part(entry.name)]
    with pinned(cores.load), running(model, cores, wanted) as participants:
        found = {}
        for name in participants.servers:
            say(f"pair-decisions: {name}")
            with participants.awake(name) as server:
                found[name] = _compared(server, pairs)
    margins = np.abs(pairs.rewards[0::2] - pairs.rewards[1::2])
    return {
        "what": (
            f"{COUNT} preference pairs through RewardClient.score_tokens, against transformers in float32, one "
            "dialogue at a time. median_margin: of transformers' rewards, between the dialogues of a pair"
        ),
        "model": model.name,
        "rewards": {"std": float(pairs.rewards.std()), "median_margin": float(np.median(margins))},
        "servers": found,
        "unavailable": participants.unavailable,
    }


def _compared(server: Server, pairs: Pairs) -> dict[str, Any]:
    session = server.connect()
    rewards = np.array(session.score(pairs.sequences))
    session.close()
    differences = np.abs(rewards - pairs.rewards)
    same = int((pairs.decisions(rewards) == pairs.decisions(pairs.rewards)).sum())
    return {
        "same_decisions": same,
        "share": same / COUNT,
        "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
    }
