"""Does a running server score as its checkpoint does? And if not, which part disagrees?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rewardserve import InputError, RewardClient, RewardServeError
from rewardserve._contract import RewardContract

from rewardserve_export._checkpoint_scorer import CheckpointScorer
from rewardserve_export._options import TokenizationPreset
from rewardserve_export._tokenization import tokenization_of
from rewardserve_export.checkpoint import Checkpoint, open_checkpoint
from rewardserve_export.graph import Precision
from rewardserve_export.parity import Rewards, Tokens, difference

__all__ = ["DEFAULT_TEXTS", "Check", "Verification", "verify"]

DEFAULT_TEXTS = (
    "Yes.",
    "How do I boil an egg?\nPut it into boiling water for eight minutes, then into cold water.",
    "How do I boil an egg?\nI would rather not say.",
    "Which is the largest planet? Jupiter is: more than twice the mass of all the others together. " * 3,
    "Écrivez « bonjour » en japonais : こんにちは 👋",
    "def add(a, b):\n    return a + b\n",
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part of what makes a score.

    Attributes:
        part: tokenizer, tokens, source, normalisation, or rewards.
        agrees: Whether the server has it as the checkpoint has.
        detail: What was compared, and what differs.
    """

    part: str
    agrees: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found.

    Attributes:
        checks: One a part, in the order of the data's way.
        largest_difference: Of a reward, on the same token ids; infinite where they can't be compared.
        texts: How many were compared.
    """

    checks: tuple[Check, ...]
    largest_difference: float
    texts: int

    @property
    def agrees(self) -> bool:
        """Whether every part does."""
        return all(check.agrees for check in self.checks)


def verify(
    source: str | Path,
    client: RewardClient,
    texts: Sequence[str] = DEFAULT_TEXTS,
    *,
    base: str | Path | None = None,
    value_head_prefix: str | None = None,
    tokenization: TokenizationPreset = "auto",
    progress: Callable[[], None] = lambda: None,
) -> Verification:
    """Compares a served model with a checkpoint, part by part.

    Args:
        source: The checkpoint's directory, or its name on the Hugging Face Hub.
        client: Of the server.
        texts: What to score.
        base: For an adapter, the model it was trained on.
        value_head_prefix: Name of the value head.
        tokenization: How the trainer turned text into tokens.
        progress: Called after every text that the checkpoint has scored.

    Raises:
        CheckpointError: The checkpoint can't be read.
        InputError: A text can't be scored.
        RewardServeError: There is no text.
        ServerError: The server doesn't answer.
    """
    contract = client.contract
    checkpoint = open_checkpoint(source, base=base, value_head_prefix=value_head_prefix)
    rules = tokenization_of(
        checkpoint, contract.tokenization.max_length, contract.tokenization.truncation, tokenization
    )
    if not len(texts):
        raise RewardServeError("there is no text to compare. Remedy: give at least one")
    scorer = CheckpointScorer(checkpoint, rules, progress)
    sequences = scorer.tokenize(texts)
    rewards, largest = _rewards(scorer, client, sequences)
    checks = (
        _tokenizer(checkpoint, contract),
        _tokens(sequences, client.tokenize(texts)),
        _source(checkpoint, contract),
        _normalization(checkpoint, contract),
        rewards,
    )
    return Verification(checks=checks, largest_difference=largest, texts=len(texts))


def _tokenizer(checkpoint: Checkpoint, contract: RewardContract) -> Check:
    own, served = checkpoint.tokenizer.sha256, contract.tokenization.tokenizer_sha256
    detail = f"sha256 {own}" if own == served else f"sha256 {own} in the checkpoint, {served} served"
    return Check(part="tokenizer", agrees=own == served, detail=detail)


def _tokens(own: Sequence[Tokens], served: Sequence[Tokens]) -> Check:
    differing = [index for index, pair in enumerate(zip(own, served, strict=True)) if not np.array_equal(*pair)]
    if not differing:
        return Check(part="tokens", agrees=True, detail=f"the same ids for {len(own)} texts")
    first = differing[0]
    ends = [f"{ids.size} tokens ending in {ids[-3:].tolist()}" for ids in (own[first], served[first])]
    found = f"text {first}: {ends[0]} by the checkpoint, {ends[1]} served"
    detail = f"other ids for {len(differing)} of {len(own)} texts; {found}"
    return Check(part="tokens", agrees=False, detail=detail)


def _source(checkpoint: Checkpoint, contract: RewardContract) -> Check:
    own, served = checkpoint.digest(), contract.source_digest
    same = own == served
    detail = "exported from these very files" if same else "exported from other files than these"
    return Check(part="source", agrees=same, detail=detail)


def _normalization(checkpoint: Checkpoint, contract: RewardContract) -> Check:
    own, served = checkpoint.normalization, contract.normalization
    detail = f"{own or 'none'}" if own == served else f"{own or 'none'} in the checkpoint, {served or 'none'} served"
    return Check(part="normalisation", agrees=own == served, detail=detail)


def _rewards(scorer: CheckpointScorer, client: RewardClient, sequences: Sequence[Tokens]) -> tuple[Check, float]:
    """The rewards of the same token ids, and their largest difference: infinite where they can't be compared."""
    try:
        actual = client.score_tokens([ids.tolist() for ids in sequences])
    except InputError as error:
        return Check(part="rewards", agrees=False, detail=f"the served model can't score these ids: {error}"), math.inf
    expected = scorer.score_tokens(sequences)
    if expected.shape != actual.shape:
        detail = f"the checkpoint's have shape {list(expected.shape)}, the served ones {list(actual.shape)}"
        return Check(part="rewards", agrees=False, detail=detail), math.inf
    gap = difference(expected, actual)
    precision = client.contract.precision
    allowed = scorer.allowed_difference(sequences, expected, cast(Precision, precision))
    agrees = gap.largest <= allowed
    detail = f"{gap.largest:.1e} apart at most, {allowed:.1e} allowed in {precision}"
    if not agrees:
        detail += f": {_cause(expected, actual, allowed)}"
    return Check(part="rewards", agrees=agrees, detail=detail), gap.largest


def _cause(expected: Rewards, actual: Rewards, allowed: float) -> str:
    """Other weights move every reward by itself; another normalisation moves all by one scale and offset."""
    if expected.size > 2:
        scale, offset = np.polyfit(expected.ravel().astype(np.float64), actual.ravel(), 1)
        rest = np.abs(scale * expected + offset - actual).max()
        if rest <= 10 * allowed:
            return f"served = {scale:.4g} x checkpoint + {offset:.4g}, another normalisation"
    return "on the same token ids, so the weights differ"
