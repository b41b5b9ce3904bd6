"""Texts of given lengths, cut from real dialogues."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks._setup import BenchmarkError

__all__ = ["cut_texts", "log_uniform_lengths", "random_cuts"]


def log_uniform_lengths(count: int, longest: int) -> list[int]:
    """Lengths spread evenly on a logarithmic scale over 1 to `longest`, both included."""
    return [round(length) for length in np.geomspace(1, longest, count)]


def cut_texts(
    dialogues: Sequence[str], lengths: Sequence[int], tokenize: Callable[[str], Any], tokenizer: Any
) -> list[str]:
    """For each length, a text of exactly so many tokens: part of a dialogue, decoded.

    Where the decoded part has another number of tokens (it ended inside a character or a word), or the dialogue is too
    short, the next dialogue is tried.

    Args:
        dialogues: Where the texts come from; they take turns.
        lengths: Tokens of each text, special tokens included.
        tokenize: Text -> token ids, as the model sees them.
        tokenizer: A transformers tokenizer.
    """
    source, generator = cycle(dialogues), np.random.default_rng(0)
    special = len(tokenize(""))
    texts = []
    for length in lengths:
        for _ in range(2 * len(dialogues)):
            ids = tokenizer(next(source), add_special_tokens=False).input_ids
            start = int(generator.integers(max(1, len(ids) - length + special)))
            text: str = tokenizer.decode(ids[start : start + length - special], clean_up_tokenization_spaces=False)
            if text and len(tokenize(text)) == length:
                texts.append(text)
                break
        else:
            raise BenchmarkError(f"no dialogue makes a text of {length} tokens. Remedy: more data")
    return texts


def random_cuts(corpus: str, count: int, characters: int) -> Iterator[str]:
    """Texts of so many characters from anywhere in a long one, made one by one; the same ones each time."""
    generator = random.Random(0)
    for _ in range(count):
        start = generator.randrange(len(corpus) - characters)
        yield corpus[start : start + characters]
