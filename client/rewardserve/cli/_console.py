"""Where the commands print, and how.

What is printed may come from anywhere (a checkpoint's tokens, a user's texts, paths): `[CLS]` or `:smile:` in it is no
markup. So strings are printed as they are, and styles are given with `rich.text.Text`; but for characters that would
command the terminal, or turn the direction of writing: those are printed as their escapes.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

__all__ = ["SafeConsole", "details", "progress_bar", "stderr", "stdout"]

_UNLIMITED = 100_000
"""Columns where the output is no terminal: whoever reads it (grep, a log) wants whole lines."""

_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def stdout() -> Console:
    """A command's result."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Progress, warnings, errors."""
    return _console(sys.stderr)


def progress_bar(amount: ProgressColumn) -> Progress:
    """What is done, a bar, how much of it, time taken and time left; only where standard error is a terminal.

    Args:
        amount: How much is done, in the task's own measure: `MofNCompleteColumn`, or a percentage.
    """
    what = TextColumn("{task.description}", markup=False)
    console = stderr()
    columns = (what, BarColumn(), amount, TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def details(title: str, rows: Mapping[str, str | Text]) -> Table:
    """A table of names and values."""
    table = Table(show_header=False, title=title, title_justify="left", title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


class SafeConsole(Console):
    """Escapes what would command a terminal; rich's own commands are segments of another kind."""

    def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
        """Renders what is printed."""
        for segment in super().render(*args, **options):
            yield segment if segment.control else Segment(_printable(segment.text), segment.style)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _commands(character) else character for character in text
    )


def _commands(character: str) -> bool:
    """Whether it is a control character, a line separator, half of a character, or turns the direction of writing."""
    if character in "\n\t":
        return False
    return unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"} or character in _DIRECTIONS


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else _UNLIMITED
    return SafeConsole(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)
