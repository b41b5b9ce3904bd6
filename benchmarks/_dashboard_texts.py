"""The texts that callers send while the dashboard is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks._models import Model
from benchmarks._setup import Setup

__all__ = ["Texts"]

_TEXTS = 400
_WORDS, _PROMPT, _RESPONSE = 60, 30, 8
"""Of a text, of the prompt it begins with, and of each response that is cut from its rest."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts of a length.

    Attributes:
        words: Of each text.
    """

    words: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, model: Model, setup: Setup) -> Texts:
        """Random words for a model whose tokens are words, else real dialogues."""
        if model.word_tokens:
            random = np.random.default_rng(0)
            ids = random.integers(3, model.vocab_size - 1, (_TEXTS, _WORDS))
            return cls(words=tuple(tuple(f"w{word}" for word in row) for row in ids))
        long = (words for text in setup.dialogues if len(words := text.split(" ")) >= _WORDS)
        return cls(words=tuple(tuple(words[:_WORDS]) for words in itertools.islice(long, _TEXTS)))

    def first(self, count: int) -> tuple[str, ...]:
        """So many of them."""
        return tuple(" ".join(words) for words in self.words[:count])

    def groups(self) -> Iterator[list[str]]:
        """Prompts with their responses, on and on."""
        for words in itertools.cycle(self.words):
            prompt, rest = words[:_PROMPT], words[_PROMPT:]
            responses = (rest[start : start + _RESPONSE] for start in range(0, len(rest) - _RESPONSE + 1, _RESPONSE))
            yield [" ".join([*prompt, *response]) for response in responses]
