"""From the wire's tensors to positions, attention blocks and fingerprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from rewardserve import _wire
from rewardserve_export.graph import GraphLimits
from rewardserve_export.graph._layout import BLOCK_TOKENS, PackedLayout, lay_out
from support.packed import INT32, Request, malformed_requests, random_request, sequences_of

SHORT = GraphLimits(vocab_size=50, max_length=24, max_request_tokens=40)
LONG = GraphLimits(vocab_size=50_000, max_length=3 * BLOCK_TOKENS + 7, max_request_tokens=5 * BLOCK_TOKENS)
MALFORMED = malformed_requests(vocab_size=50, max_length=24, max_request_tokens=40)


def laid_out(requests: list[Request], limits: GraphLimits) -> PackedLayout:
    inputs = _wire.graph_inputs(requests)
    names = (_wire.INPUT_IDS, _wire.SEGMENTS, _wire.REQUEST_TOKENS, _wire.REQUEST_SEGMENTS)
    return lay_out(*(torch.from_numpy(inputs[name]) for name in names), limits)


def random_requests(random: np.random.Generator, limits: GraphLimits) -> list[Request]:
    return [
        random_request(
            random,
            vocab_size=limits.vocab_size,
            max_length=limits.max_length,
            max_tokens=limits.max_request_tokens,
        )
        for _ in range(random.integers(1, 6))
    ]


def visible_tokens(layout: PackedLayout) -> dict[int, list[int]]:
    """Which tokens each token attends to, in order, according to the blocks."""
    visible: dict[int, list[int]] = {}
    for q_start, q_end, k_start, _, p_start, p_length in layout.blocks.tolist():
        prefix = list(range(p_start, p_start + p_length))
        for token in range(q_start, q_end):
            assert token not in visible
            visible[token] = [*prefix, *range(k_start, token + 1)]
    return visible


def expected_tokens(requests: list[Request]) -> tuple[dict[int, list[int]], list[int]]:
    """The same, and each segment's last token, according to the wire contract."""
    visible: dict[int, list[int]] = {}
    last = []
    offset = 0
    for ids, segments in requests:
        ends = [offset + int(end) for end in np.cumsum(segments[:, 0])]
        spans = [list(range(end - length, end)) for end, length in zip(ends, segments[:, 0].tolist(), strict=True)]
        for index, parent in enumerate(segments[:, 1].tolist()):
            prefix = spans[index - parent] if parent else []
            for place, token in enumerate(spans[index]):
                visible[token] = [*prefix, *spans[index][: place + 1]]
            last.append(spans[index][-1])
        offset += ids.size
    return visible, last


def assert_sound(layout: PackedLayout, tokens: int, limits: GraphLimits) -> None:
    """What must hold for any bytes: else a malformed request could fail the run, or move another one's rewards."""
    assert layout.input_ids.shape == layout.position_ids.shape == (tokens + 1,)
    assert 0 <= layout.input_ids.min() <= layout.input_ids.max() < limits.vocab_size
    assert 0 <= layout.position_ids.min() <= layout.position_ids.max() < limits.max_length
    q_start, q_end, k_start, k_end, p_start, p_length = layout.blocks.T
    assert q_start[0] == 0
    assert q_end[-1] == tokens + 1
    assert torch.equal(q_start[1:], q_end[:-1])
    assert ((q_start < q_end) & (q_end - q_start <= BLOCK_TOKENS)).all()
    assert ((k_start >= 0) & (k_start <= q_start) & (k_end >= q_end) & (k_end <= tokens + 1)).all()
    assert ((p_start >= 0) & (p_length >= 0) & (p_start + p_length <= k_start)).all()
    start, length, _, _ = layout.spans.T
    assert ((start >= 0) & (length >= 1) & (start + length <= tokens + 1)).all()


def last_tokens(layout: PackedLayout) -> list[int]:
    start, length, _, _ = layout.spans.T
    last: list[int] = (start + length - 1).tolist()
    return last


@pytest.mark.parametrize("limits", [SHORT, LONG], ids=["short", "several blocks"])
def test_well_formed_requests_are_laid_out_as_the_contract_says(limits: GraphLimits) -> None:
    random = np.random.default_rng(3)
    prefixes = blocks = 0
    for _ in range(60):
        requests = random_requests(random, limits)
        tokens = sum(ids.size for ids, _ in requests)
        layout = laid_out(requests, limits)
        assert_sound(layout, tokens, limits)
        assert layout.valid.all()
        ids = np.concatenate([ids for ids, _ in requests])
        assert layout.input_ids[:-1].tolist() == ids.tolist()

        visible, last = expected_tokens(requests)
        actual = visible_tokens(layout)
        filler = actual.pop(tokens)
        assert filler == [tokens]
        assert actual == visible
        assert last_tokens(layout) == last
        assert layout.position_ids[:-1].tolist() == [len(visible[token]) - 1 for token in range(tokens)]
        sequences = [sequence for request in requests for sequence in sequences_of(request)]
        marks = [
            sum((int(token) + 1) * (place + 1) for place, token in enumerate(sequence)) % (2**31 - 1)
            for sequence in sequences
        ]
        assert layout.fingerprints.tolist() == marks
        assert marks == [_wire.fingerprint(sequence) for sequence in sequences]
        identity = int(random.integers(0, _wire.FINGERPRINT_MODULUS))
        identified = laid_out(requests, dataclasses.replace(limits, identity=identity)).fingerprints.tolist()
        assert identified == [(mark + identity) % (2**31 - 1) for mark in marks]
        prefixes += int((layout.blocks[:, 4] > 0).sum())
        blocks = max(blocks, *(-(-sequence.size // BLOCK_TOKENS) for sequence in sequences))
    assert prefixes > 50, "the random requests must share prefixes"
    assert blocks == (1 if limits is SHORT else 4)


def test_malformed_requests_get_no_reward_and_move_nobody() -> None:
    random = np.random.default_rng(4)
    for _ in range(100):
        good = random_requests(random, SHORT)
        batch = [(request, True) for request in good]
        for kind in random.choice(list(MALFORMED), 3):
            batch.insert(int(random.integers(0, len(batch) + 1)), (MALFORMED[kind], False))
        requests = [request for request, _ in batch]
        layout = laid_out(requests, SHORT)
        assert_sound(layout, sum(ids.size for ids, _ in requests), SHORT)
        valid = np.repeat([expected for _, expected in batch], [len(segments) for _, segments in requests])
        assert layout.valid.tolist() == valid.tolist()
        alone = laid_out(good, SHORT)
        assert layout.fingerprints[layout.valid].tolist() == alone.fingerprints.tolist()
        assert set(layout.fingerprints[~layout.valid].tolist()) <= {-1}
        ids = _wire.graph_inputs(requests)[_wire.INPUT_IDS]
        offset = np.cumsum([0, *(ids.size for ids, _ in requests)])
        sees = visible_tokens(layout)
        seen = [
            [ids[token] for token in sees[last]]
            for last, ok in zip(last_tokens(layout), layout.valid.tolist(), strict=True)
            if ok
        ]
        expected = [sequence.tolist() for request in good for sequence in sequences_of(request)]
        assert [list(map(int, tokens)) for tokens in seen] == expected
        assert offset[-1] == ids.size


@pytest.mark.parametrize("kind", MALFORMED)
def test_both_backends_call_it_malformed(kind: str) -> None:
    ids, segments = MALFORMED[kind]
    limits = {"vocab_size": 50, "max_length": 24, "max_request_tokens": 40}
    assert _wire.problem_with(ids, segments, **limits) is not None
    assert not laid_out([(ids, segments)], SHORT).valid.any()


def test_both_backends_agree_on_requests_with_random_faults() -> None:
    random = np.random.default_rng(5)
    limits = {"vocab_size": 50, "max_length": 24, "max_request_tokens": 40}
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        requests = []
        for ids, segments in random_requests(random, SHORT):
            if random.random() < 0.7:
                tensor = random.choice([0, 1, 1])
                changed = (ids, segments)[tensor].reshape(-1)
                changed[random.integers(changed.size)] += random.choice([-60, -25, -2, -1, 1, 2, 25, 60])
            requests.append((ids, segments))
        layout = laid_out(requests, SHORT)
        assert_sound(layout, sum(ids.size for ids, _ in requests), SHORT)
        expected = [_wire.problem_with(ids, segments, **limits) is None for ids, segments in requests]
        assert layout.valid.tolist() == np.repeat(expected, [len(segments) for _, segments in requests]).tolist()
        for outcome in expected:
            outcomes[outcome] += 1
    assert min(outcomes.values()) > 50, "both kinds must occur"


def test_any_bytes_are_laid_out_soundly() -> None:
    random = np.random.default_rng(6)
    for _ in range(300):
        low, high = random.choice([(INT32.min, INT32.max), (-3, 30), (0, 6)])
        requests = [
            (
                random.integers(low, high, random.integers(0, 60), dtype=np.int32),
                random.integers(low, high, (random.integers(0, 9), 2), dtype=np.int32),
            )
            for _ in range(random.integers(1, 6))
        ]
        layout = laid_out(requests, SHORT)
        assert_sound(layout, sum(ids.size for ids, _ in requests), SHORT)
        assert visible_tokens(layout).keys() == set(range(layout.input_ids.shape[0]))
        assert ((layout.fingerprints >= 0) == layout.valid).all()
