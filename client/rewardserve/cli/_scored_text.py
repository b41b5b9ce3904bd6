"""The rules of tokenization, in words."""

from __future__ import annotations

from rewardserve._contract import Tokenization

__all__ = ["scored_text"]


def scored_text(rules: Tokenization) -> str:
    """What is done to a text before it is scored."""
    parts = ["tokenizer's special tokens added" if rules.add_special_tokens else "no special tokens added"]
    if rules.strip_newlines:
        parts.append("newlines at the end removed")
    if rules.eos_suffix is not None:
        parts.append(f"{rules.eos_suffix!r} appended where missing")
    if rules.forced_last_id is not None:
        parts.append(f"last token forced to {rules.forced_last_id}")
    return ", ".join(parts)
