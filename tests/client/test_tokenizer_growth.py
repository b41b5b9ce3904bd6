"""How much longer a tokenizer may make a text."""

from __future__ import annotations

import json

import pytest
from rewardserve import ContractError
from rewardserve._tokenizer_guard import check_growth


def tokenizer(*replacements: tuple[str, str]) -> bytes:
    steps = [{"type": "Replace", "pattern": {"String": old}, "content": new} for old, new in replacements]
    return json.dumps({"normalizer": {"type": "Sequence", "normalizers": steps}}).encode()


def test_replacements_of_different_characters_dont_add_up() -> None:
    check_growth(tokenizer(("\n", "<|newline|>"), ("\t", "[indentation]"), ("€", "EUR"), ("…", "...")))


@pytest.mark.parametrize(
    "replacements",
    [
        [("a", "a" * 101)],
        [("a", "bbbbbbbbbbb"), ("b", "cccccccccc")],
        [("a", "cbcbcbcbcbc"), ("bc", "d" * 10)],
    ],
)
def test_what_one_makes_the_next_makes_more_of(replacements: list[tuple[str, str]]) -> None:
    with pytest.raises(ContractError, match=r"makes up to 1\d\d characters of one.*Remedy"):
        check_growth(tokenizer(*replacements))
