"""The terminal: colours and tables, and what of a text may reach it.

rich is imported where it is used: most commands print a line, and shall not wait for it. What comes from elsewhere (a
model's answer, a name, a path) is text and nothing else: no markup, and nothing that moves the cursor.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDE = 100_000  # columns where there is no terminal: nothing is cut or broken
_JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


def console(*, err: bool = False) -> Console:
    """Rich's console for stdout or stderr: colours on a terminal only, and not where NO_COLOR is set."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if is_terminal(stream) else _WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a person reads there, or types."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def readable(text: str) -> str:
    """A text with its lines, and without anything else that moves the cursor or hides what is there."""
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(char: str) -> str:
    if char.isprintable() or char in "\n\t" or char in _JOINERS or unicodedata.category(char) == "Zs":
        return char
    return "" if char == "\r" else "?"


def cell(text: object, style: str = "") -> Text:
    """A value as a table shows it: one line."""
    from rich.text import Text

    return Text(readable(str(text)).replace("\n", " ").replace("\t", " "), style=style)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Prints rows under headings. No heading at all: none is shown.

    Args:
        headings: One a column.
        rows: What stands below them; a value may be rich's `Text`, which keeps its style.
        right: The columns that are set to the right, as numbers are.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headings), header_style="bold")
    for index, heading in enumerate(headings):
        made.add_column(cell(heading), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    on = console()
    with on.capture() as captured:
        on.print(made)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=True)


def print_json(value: object) -> None:
    """Prints a value as JSON, for other programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))


class Dim:
    """Writes what is beside the matter to stderr, dimmed where it is a terminal."""

    def __init__(self) -> None:
        self.is_seen = is_terminal(sys.stderr)
        self._console = console(err=True) if self.is_seen else None

    def write(self, text: str) -> None:
        """Writes a piece of text, and no end of line."""
        if self._console is None:
            click.echo(readable(text), nl=False, err=True)
            return
        from rich.text import Text

        self._console.print(Text(readable(text), style="dim"), end="", soft_wrap=True)

    def line(self, text: str) -> None:
        """Writes a line."""
        self.write(f"{text}\n")


@contextmanager
def waiting(words: str) -> Iterator[Callable[[], None]]:
    """A sign on stderr that something goes on; nothing where that is no terminal.

    Yields:
        What ends it early.
    """
    if not is_terminal(sys.stderr):
        yield lambda: None
        return
    from rich.text import Text

    status = console(err=True).status(Text(words, style="dim"))
    status.start()
    try:
        yield status.stop
    finally:
        status.stop()
