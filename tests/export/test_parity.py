"""The check that an export must pass, and the batches it is made on."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardserve import ParityError, _wire
from rewardserve_export import ExportSummary
from rewardserve_export.checkpoint import RewardModel
from rewardserve_export.graph import GraphLimits
from rewardserve_export.parity import (
    FP32_TOLERANCE,
    Composition,
    Runner,
    Tokens,
    _check,
    check_parity,
    compare,
    difference,
    each_its_own_request,
    one_batch,
    onnx_runner,
    packed_scorer,
    parity_sequences,
    prefixes_shared,
    shuffled,
    transformers_scorer,
)
from support.packed import sequences_of

LIMIT = 600
COMPOSITIONS = {
    "one batch": one_batch(LIMIT),
    "a request each": each_its_own_request,
    "prefixes shared": prefixes_shared(LIMIT),
    **{f"shuffled {seed}": shuffled(seed, LIMIT) for seed in range(5)},
}


@pytest.fixture(scope="module")
def sequences(limits: GraphLimits) -> list[Tokens]:
    """Those of the check, and a family too large for one request, with grandchildren and twins."""
    random = np.random.default_rng(9)
    prompt = random.integers(0, 400, 200, dtype=np.int32)
    children = [np.concatenate([prompt, random.integers(0, 400, 150, dtype=np.int32)]) for _ in range(4)]
    grandchild = np.concatenate([children[0], prompt[:100]])
    return [*parity_sequences(limits), *children, grandchild, prompt, prompt.copy(), children[1].copy()]


@pytest.mark.parametrize("compose", COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def test_compositions_hold_every_sequence(compose: Composition, sequences: list[Tokens]) -> None:
    found = set()
    for batch in compose(sequences):
        assert batch
        for request in batch:
            assert request.input_ids.size <= LIMIT
            problem = _wire.problem_with(
                request.input_ids, request.segments, vocab_size=400, max_length=512, max_request_tokens=LIMIT
            )
            assert problem is None
            held = sequences_of((request.input_ids, request.segments))
            assert request.fingerprints.tolist() == [_wire.fingerprint(tokens) for tokens in held]
            for item, end in zip(request.items.tolist(), request.ends.tolist(), strict=True):
                assert np.array_equal(held[end], sequences[item])
                found.add(item)
    assert found == set(range(len(sequences)))


def test_compositions_differ(sequences: list[Tokens]) -> None:
    shapes = {
        name: [[tuple(map(tuple, request.segments.tolist())) for request in batch] for batch in compose(sequences)]
        for name, compose in COMPOSITIONS.items()
    }
    assert len({str(shape) for shape in shapes.values()}) == len(COMPOSITIONS)
    assert len(shapes["one batch"]) == len(shapes["a request each"]) == 1
    assert all(len(request) == 1 for request in shapes["a request each"][0])
    assert len(shapes["one batch"][0]) < len(sequences)
    parents = [parent for request in shapes["prefixes shared"][0] for _, parent in request]
    assert sum(parent > 0 for parent in parents) >= 8
    assert any(len(batches) > 2 for batches in shapes.values())


@pytest.mark.parametrize("compose", COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def test_every_composition_scores_as_transformers(
    compose: Composition, sequences: list[Tokens], model: RewardModel, run: Runner, limits: GraphLimits
) -> None:
    gap = compare(transformers_scorer(model), packed_scorer(run, compose, limits.identity), sequences)
    assert gap.largest < 1e-5
    assert gap.scale > 0.1


def test_check_measures_and_reports(exported: ExportSummary, limits: GraphLimits) -> None:
    parity = exported.contract.parity
    assert parity.sequences == len(parity_sequences(limits))
    assert 0 < parity.largest_difference < 1e-5
    assert 0 <= parity.batch_deviation < 1e-6


def test_sequences_cover_the_limits(limits: GraphLimits) -> None:
    lengths = {tokens.size for tokens in parity_sequences(limits)}
    assert {1, 255, 256, 257, limits.max_length} <= lengths
    tiny = GraphLimits(vocab_size=3, max_length=1, max_request_tokens=1)
    assert {tokens.size for tokens in parity_sequences(tiny)} == {1}


def test_progress_counts_to_the_end(model: RewardModel, graph: Path, limits: GraphLimits) -> None:
    steps: list[tuple[int, int]] = []
    parity = check_parity(model, graph, limits, lambda done, total: steps.append((done, total)))
    assert steps == [(place + 1, len(steps)) for place in range(len(steps))]
    assert len(steps) > parity.sequences


def nothing(_done: int, _steps: int) -> None: ...


def test_other_head_is_found(model: RewardModel, graph: Path, limits: GraphLimits) -> None:
    other = copy.deepcopy(model)
    other.head.linear.weight += 1e-3
    with pytest.raises(ParityError, match="the exported graph \\(one batch\\) scores a sequence of"):
        check_parity(other, graph, limits, nothing)


def test_other_backbone_is_found(model: RewardModel, graph: Path, limits: GraphLimits) -> None:
    other = copy.deepcopy(model)
    other.backbone.layers[1].self_attn.q_proj.weight *= -1
    with pytest.raises(ParityError, match="the exported graph"):
        check_parity(other, graph, limits, nothing)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rewards_that_are_no_numbers_are_found(
    value: float, model: RewardModel, graph: Path, limits: GraphLimits
) -> None:
    """Though both sides agree on them."""
    other = copy.deepcopy(model)
    other.head.linear.weight[:] = value
    with pytest.raises(ParityError):
        check_parity(other, graph, limits, nothing)


def test_infinite_reward_hides_no_difference() -> None:
    """In relation to it, any other would be small."""
    tokens = [np.zeros(1, dtype=np.int32)] * 2
    with pytest.raises(ParityError):
        _check._require(np.array([np.inf, 1.0], np.float32), np.array([np.inf, 5.0], np.float32), tokens, "a graph")


def test_other_vocabulary_is_found(model: RewardModel, graph: Path, limits: GraphLimits) -> None:
    """The graph answers NaN and -1 where it was traced with less."""
    wider = dataclasses.replace(limits, vocab_size=500)
    tokens = [np.array([450], dtype=np.int32)]
    assert max(int(sequence.max()) for sequence in parity_sequences(wider)) > 400
    with pytest.raises(ParityError, match="fingerprints"):
        packed_scorer(onnx_runner(graph), each_its_own_request, limits.identity)(tokens)


def test_another_identity_is_found(model: RewardModel, graph: Path, limits: GraphLimits) -> None:
    """A graph that didn't hold its contract's would be taken for another model by every client."""
    with pytest.raises(ParityError, match="fingerprints"):
        check_parity(model, graph, dataclasses.replace(limits, identity=limits.identity - 1), nothing)


def test_difference_finds_the_worst() -> None:
    expected = np.array([1.0, -4.0, 2.0], dtype=np.float32)
    gap = difference(expected, np.array([1.5, -4.0, 1.0], dtype=np.float32))
    assert (gap.largest, gap.index, gap.scale) == (1.0, 2, 4.0)
    for wrong in (np.nan, np.inf):
        gap = difference(expected, np.array([1.5, wrong, 1.0], dtype=np.float32))
        assert (gap.largest, gap.index) == (np.inf, 1)
    assert FP32_TOLERANCE < 1e-3
