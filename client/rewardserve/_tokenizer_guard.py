"""What a `tokenizer.json` from a stranger may not do: make much of little text, or end the process.

The tokenizers library computes in Rust, without a bound on its memory, and what it fails on it may panic on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rewardserve._errors import ContractError

__all__ = ["check_growth", "panics_as_errors"]

_MOST_BYTES = 64 << 20
"""Twice the largest that is known."""
_MOST_GROWTH = 100
"""Characters made of one; published tokenizers make one or two."""
_MOST_ADDED = 1000
"""Tokens put around a text; published tokenizers put up to four."""


def check_growth(content: bytes) -> None:
    """Checks how much longer a tokenizer makes a text, before the library reads it and applies it to its own tokens.

    A normaliser's table of characters (`Precompiled`) isn't looked into.

    Raises:
        ContractError: It is no tokenizer.json, is too large, or makes far too much of a text.
    """
    if len(content) > _MOST_BYTES:
        raise ContractError(
            f"the tokenizer.json has {len(content):,} bytes, more than {_MOST_BYTES:,}. Remedy: don't use this model"
        )
    try:
        document = json.loads(content)
        normalizers = list(_steps(document.get("normalizer")))
        processors = list(_steps(document.get("post_processor")))
        growth = max(
            _growth_of(normalizers) * math.prod(map(_growth, processors)),
            _growth_of(list(_steps(document.get("decoder")))),
        )
        added = sum(map(_added, processors))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ContractError(f"the tokenizer.json can't be read ({error!r}). Remedy: export the model again") from error
    if growth > _MOST_GROWTH or added > _MOST_ADDED:
        raise ContractError(
            f"the tokenizer.json makes up to {growth:,} characters of one, and adds {added:,} tokens: no tokenizer "
            "of a published model does. Remedy: don't use this model"
        )


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Makes a RuntimeError of a panic, which derives from BaseException and would pass by `except Exception`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"the tokenizers library panicked: {error}") from error


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a part, those of sequences inside it one by one."""
    if part is None:
        return
    inner = [steps for name in ("normalizers", "processors", "decoders") for steps in part.get(name) or ()]
    yield from (step for each in inner for step in _steps(each))
    if not inner:
        yield part


def _growth_of(steps: list[dict[str, Any]]) -> int:
    """Of steps one after another: what one of them makes, the next may make more of."""
    growth, made = 1, set[str]()
    for step in steps:
        found = (step.get("pattern") or {}).get("String")
        if found and made.isdisjoint(found):
            growth = max(growth, _growth(step))
        else:
            growth *= _growth(step)
        made.update(step.get("content") or "")
    return growth


def _growth(step: dict[str, Any]) -> int:
    if step["type"] == "Replace":
        return max(1, len(step["content"]))
    if step["type"] == "Prepend":
        return 1 + len(step["prepend"])
    return max(1, sum("Sequence" in piece for piece in step.get("single") or ()))


def _added(step: dict[str, Any]) -> int:
    special = step.get("special_tokens") or {}
    named = [piece["SpecialToken"]["id"] for piece in step.get("single") or () if "SpecialToken" in piece]
    return sum(len(special[name]["ids"]) for name in named)
