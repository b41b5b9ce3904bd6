"""What a chat template may cost: characters that it makes, values that it looks at, steps that it takes.

Jinja's sandbox keeps a template from Python's internals, not from `"a" * 10**10`. So every operation that can make much
of little is charged for, before it runs: one unit for a character or a node of the template's code, a few for an item
of a list, or a call. Units, not seconds, so that what a template may do doesn't depend on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.exceptions import SecurityError

__all__ = [
    "METHODS",
    "WHOLES",
    "BudgetError",
    "budget",
    "charge",
    "charge_operation",
    "charge_percent",
    "charge_scan",
    "charge_spec",
    "charge_whole",
]

_UNITS = 1 << 22
_UNITS_PER_CHARACTER = 256
"""Of the conversation: templates go through a long one several times."""
_UNITS_OF_AN_ITEM = 8
"""Of a list or dict whose parts are looked at: as its memory, in bytes."""
_CHARACTERS_SCANNED = 16
"""For one unit: a text that is only looked at costs little time, and templates look at a system message many times."""
_LARGEST_BITS = 1 << 14
"""Of an integer; what is counted in conversations has a dozen."""

_ADDED = (str, bytes, list, tuple)
"""Types, and their subclasses, that `+` copies."""

_LONGEST_NUMBER = 1000
"""Characters or bytes that a number is read from."""

WHOLES = (list, tuple, Mapping, KeysView, ValuesView, ItemsView)
"""Values with parts."""

_WIDTH = re.compile(r"\d+")
_FIELD = re.compile(
    r"%(?:\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))?[-#0 +]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?[hlL]?(.?)", re.DOTALL
)
"""Of a `%` format: key, flags, width, precision, kind. A kind `(` is a key with more brackets in it."""
_LONGEST_WIDTH = 10
"""Digits: more are no other number to a budget."""


class BudgetError(SecurityError):
    """A template asks for more than its budget."""


class _Budget:
    def __init__(self, units: int) -> None:
        self.left = units


_BUDGET: ContextVar[_Budget | None] = ContextVar("rewardserve_template_budget", default=None)


@contextmanager
def budget(messages: Any) -> Iterator[None]:
    """Bounds what is rendered meanwhile, in this thread, by the size of a conversation."""
    given = _BUDGET.set(_Budget(_UNITS + _UNITS_PER_CHARACTER * _size(messages)))
    try:
        yield
    finally:
        _BUDGET.reset(given)


def charge(units: int) -> None:
    """Takes from the budget; without one, while a template is compiled, from nothing.

    Raises:
        BudgetError: So much isn't left.
    """
    left = _BUDGET.get()
    if left is None:
        return
    left.left -= units
    if left.left < 0:
        left.left = -1  # for good
        raise BudgetError("it takes too many steps, or makes too large a text")


def charge_whole(value: Any, each: int = 0, deeper: int = 0) -> None:
    """Charges for every part of a value, as often as it occurs: as text, or in a comparison, it counts so often.

    Args:
        value: Of any type.
        each: Units besides, for every item.
        deeper: How many more, with every level that an item is deeper.
    """
    if isinstance(value, str | bytes):
        charge(len(value))
    elif isinstance(value, WHOLES):
        charge((_UNITS_OF_AN_ITEM + each) * (1 + len(value)))
        for item in value:
            charge_whole(item, each + deeper, deeper)
            if isinstance(value, Mapping):
                charge_whole(value[item], each + deeper, deeper)


def charge_scan(value: Any, times: int = 1) -> None:
    """Charges for going through a text or a list, `times` at worst, without a look into its parts."""
    if isinstance(value, str | bytes):
        charge(len(value) * times // _CHARACTERS_SCANNED)
    elif isinstance(value, list | tuple | range | ValuesView):
        charge(len(value) * times)


def charge_spec(spec: str) -> None:
    """Charges for the widths and precisions that the format of one value names."""
    for width in _WIDTH.findall(spec):
        charge(int(width[:_LONGEST_WIDTH]))


def charge_percent(text: str | bytes, values: Any) -> None:
    """Charges for `text % values`: each field may be as wide as it says, and hold one of a tuple's values, or any.

    Raises:
        BudgetError: The result is too large, or a field's name has brackets in brackets in brackets.
    """
    source = text.decode("latin-1") if isinstance(text, bytes) else text
    given = values if isinstance(values, tuple) else (values,)
    widest = max((abs(value) for value in given if isinstance(value, int)), default=0)
    charge(len(source))
    charge_whole(values)
    for width, precision, kind in _FIELD.findall(source):
        if kind == "(":
            raise BudgetError("it formats with a name that has many brackets")
        for size in (width, precision):
            charge(widest if size == "*" else int(size[:_LONGEST_WIDTH] or 0))
        if not isinstance(values, tuple):
            charge_whole(values)


def charge_operation(operator: str, left: Any, right: Any) -> None:
    """Charges for a binary operation before it is done."""
    if operator == "%" and isinstance(left, str | bytes):
        charge_percent(left, right)
    elif operator == "+" and any(isinstance(left, kind) and isinstance(right, kind) for kind in _ADDED):
        charge(len(left) + len(right))
    elif operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
                charge(len(one) * max(other, 0))
        _require_small(_bits(left) + _bits(right))
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _require_small(_bits(left) * abs(right))


def _require_small(bits: int) -> None:
    if bits > _LARGEST_BITS:
        raise BudgetError("it computes with huge integers")


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _size(value: Any) -> int:
    """Characters of a JSON value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_size(key) + _size(item) for key, item in value.items())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _charge_width(text: Any, width: Any = 0, *_: Any, **named: Any) -> None:
    for value in (width, *named.values()):
        charge(abs(value) if isinstance(value, int) else 0)


def _charge_tabs(text: Any, tabsize: Any = 8) -> None:
    charge(len(text) * abs(int(tabsize)))


def _charge_replace(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    charge(len(text) + text.count(old) * len(new))


def _charge_translate(text: Any, table: Any, *_: Any, **__: Any) -> None:
    if isinstance(text, bytes):
        return
    texts = table.values() if isinstance(table, Mapping) else table
    charge(len(text) * max((len(item) for item in texts if isinstance(item, str)), default=1))


def _charge_search(text: Any, part: Any = None, *_: Any, **named: Any) -> None:
    for each in (part, *named.values()):
        if isinstance(each, str | bytes):
            charge_scan(text, len(each))


def _require_short(_: Any, source: Any = b"", *__: Any, **named: Any) -> None:
    for each in (source, *named.values()):
        # Lists and iterators of integers will do for bytes.
        if not isinstance(each, bool | str | bytes) or (not isinstance(each, bool) and len(each) > _LONGEST_NUMBER):
            raise BudgetError("it computes with huge integers")


METHODS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "to_bytes"), _charge_width),
    "expandtabs": _charge_tabs,
    **dict.fromkeys(("strip", "lstrip", "rstrip", "rfind", "rindex", "rpartition", "rsplit"), _charge_search),
    "from_bytes": _require_short,
    "replace": _charge_replace,
    "translate": _charge_translate,
}
"""Methods of texts, bytes and integers that make, or take, much more than they are given, and their price."""
