"""Rows of cells as lines, without rich: most commands print a few, and shall not wait for it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

GAP = "  "


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell. One that is empty in all rows is left out."""
    cells = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = (GAP.join(_padded(cell, n) for cell, n in zip(row, widths, strict=True) if n) for row in cells)
    return [line.rstrip() for line in lines]


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _printable(text: str) -> str:
    """A text that cannot move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _padded(text: str, n_columns: int) -> str:
    return text + " " * (n_columns - width(text))
