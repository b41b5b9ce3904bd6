"""Which prefixes are found among the sequences of a call, and which of them are shared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from rewardserve import _prefixes
from rewardserve._prefixes import SEGMENT_TOKENS, find_families
from support.packed import random_call

Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]


def tokens(*runs: tuple[int, int]) -> Tokens:
    """Runs of (id, length): what begins alike can be seen."""
    return np.repeat(*np.array(runs, dtype=np.int32).T)


def found(sequences: Sequence[Tokens]) -> set[tuple[int, tuple[tuple[int, ...], ...]]]:
    """(prefix, items of each member) of each family."""
    return {(family.prefix, tuple(map(tuple, family.members))) for family in find_families(sequences)}


def test_nothing_and_one() -> None:
    assert find_families([]) == []
    assert found([tokens((7, 50))]) == {(0, ((0,),))}


def test_responses_to_several_prompts_in_any_order() -> None:
    prompts = [tokens((1, 40), (2, 60)), tokens((1, 40), (3, 20)), tokens((4, 80))]
    order = [0, 1, 2, 1, 0, 2, 2, 1, 0]
    sequences = [np.append(prompts[prompt], np.int32([10 + item, 9])) for item, prompt in enumerate(order)]
    assert found(sequences) == {
        (100, ((0,), (4,), (8,))),  # and not the 40 tokens that it has in common with the next
        (60, ((1,), (3,), (7,))),
        (80, ((2,), (5,), (6,))),
    }


def test_equal_sequences_are_one_member() -> None:
    assert found([tokens((1, 3)), tokens((2, 3)), tokens((1, 3))]) == {(0, ((0, 2),)), (0, ((1,),))}


def test_a_prefix_may_be_a_sequence_of_the_call() -> None:
    sequences = [tokens((1, 40), (2, 1)), tokens((1, 40)), tokens((1, 40), (3, 1))]
    assert found(sequences) == {(40, ((1,), (0,), (2,)))}


def test_unrelated_texts_share_their_header() -> None:
    sequences = [tokens((1, 30), (10 + item, 50)) for item in range(5)]
    assert found(sequences) == {(30, ((0,), (1,), (2,), (3,), (4,)))}


def test_one_level_is_chosen_by_what_it_saves() -> None:
    """Two prompts behind one header: short, the header is shared, as all use it; long, the prompts are."""
    for prompt, shared in ((10, {30}), (50, {80})):
        sequences = [tokens((1, 30), (2 + item % 2, prompt), (10 + item, 5)) for item in range(4)]
        assert {family.prefix for family in find_families(sequences)} == shared


def test_a_group_may_share_more_than_the_others() -> None:
    grouped = [tokens((1, 30), (2, 100), (10 + item, 5)) for item in range(3)]
    others = [tokens((1, 30), (20 + item, 5)) for item in range(5)]
    assert found(grouped + others) == {(130, ((0,), (1,), (2,))), (30, ((3,), (4,), (5,), (6,), (7,)))}


@pytest.mark.parametrize(
    ("prefix", "sequences", "shared"),
    [
        (SEGMENT_TOKENS - 1, 100, False),
        (SEGMENT_TOKENS, 2, False),
        (SEGMENT_TOKENS, 3, True),
        (SEGMENT_TOKENS + 1, 2, True),
    ],
)
def test_a_prefix_that_saves_nothing_isnt_shared(prefix: int, sequences: int, shared: bool) -> None:
    assert (
        any(
            family.prefix for family in find_families([tokens((1, prefix), (2 + item, 4)) for item in range(sequences)])
        )
        == shared
    )


def test_a_prefix_that_is_sent_anyway_costs_nothing() -> None:
    assert found([tokens((1, SEGMENT_TOKENS)), tokens((1, SEGMENT_TOKENS), (2, 1))]) == {(SEGMENT_TOKENS, ((0,), (1,)))}


def test_every_step_of_one_sequence() -> None:
    """One level can't share all; 30 times less is what it can."""
    whole = np.random.default_rng(0).integers(0, 400, 1000, dtype=np.int32)
    sequences = [whole[:length] for length in range(1, 1001)]
    sent = sum(
        family.prefix + sum(sequences[items[0]].size - family.prefix for items in family.members)
        for family in find_families(sequences)
    )
    assert sent < sum(sequence.size for sequence in sequences) / 10


def cost(sequences: Sequence[Tokens], shared: Sequence[bytes], overhead: int) -> int:
    """What is sent if these prefixes are shared, each sequence continuing the longest."""
    distinct = {sequence.tobytes() for sequence in sequences}
    total, used = 0, set()
    for content in distinct:
        prefix = max((each for each in shared if content.startswith(each)), key=len, default=b"")
        total += (len(content) - len(prefix)) // 4
        used.add(prefix)
    return total + sum(len(each) // 4 + (overhead if each and each not in distinct else 0) for each in used)


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_would_send_less(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against every choice, where a prefix of one token is worth a look."""
    monkeypatch.setattr(_prefixes, "SEGMENT_TOKENS", 1)
    random = np.random.default_rng(seed)
    sequences = [random.integers(0, 2, random.integers(1, 8), dtype=np.int32) for _ in range(random.integers(2, 8))]
    distinct = {sequence.tobytes() for sequence in sequences}
    prefixes = {content[: 4 * length] for content in distinct for length in range(1, len(content) // 4 + 1)}
    common = [each for each in prefixes if sum(content.startswith(each) for content in distinct) > 1]
    choices = (choice for count in range(min(len(common), 4) + 1) for choice in combinations(common, count))
    best = min(cost(sequences, choice, 1) for choice in choices)
    chosen = [sequences[family.members[0][0]][: family.prefix].tobytes() for family in find_families(sequences)]
    assert cost(sequences, [each for each in chosen if each], 1) == best


@pytest.mark.parametrize("seed", range(20))
def test_families_are_what_they_say(seed: int) -> None:
    sequences = random_call(np.random.default_rng(seed))
    items: list[int] = []
    for family in find_families(sequences):
        assert len(family.members) > 1 or family.prefix == 0
        first = sequences[family.members[0][0]]
        seen = set()
        for twins in family.members:
            items += twins
            contents = {sequences[item].tobytes() for item in twins}
            assert len(contents) == 1, "equal sequences"
            assert not contents & seen, "and all of them"
            seen |= contents
            assert np.array_equal(sequences[twins[0]][: family.prefix], first[: family.prefix])
            assert sequences[twins[0]].size >= family.prefix
    assert sorted(items) == list(range(len(sequences)))
