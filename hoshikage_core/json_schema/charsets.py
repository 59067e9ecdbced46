"""Sets of characters, as sorted ranges of code points that do not touch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]

ANY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
"""Every character that UTF-8 can hold: no surrogates."""


def of(text: str) -> Ranges:
    """The characters of a text."""
    return union((ord(char), ord(char)) for char in text)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Puts ranges in order and joins those that touch."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """What both hold."""
    common = []
    i = j = 0
    while i < len(left) and j < len(right):
        low, high = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if low <= high:
            common.append((low, high))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(common)


def complement(ranges: Ranges) -> Ranges:
    """Every character that is not among these."""
    gaps = []
    low = 0
    for begin, end in ranges:
        gaps.append((low, begin - 1))
        low = end + 1
    gaps.append((low, 0x10FFFF))
    return intersection(union((begin, end) for begin, end in gaps if begin <= end), ANY)


@functools.cache
def unicode_class(letter: str) -> Ranges:
    r"""What Python's ``re`` takes for ``\d``, ``\w`` or ``\s`` in a text."""
    text = "".join(map(chr, range(0xD800))) + "".join(map(chr, range(0xE000, 0x110000)))
    runs = (match.group() for match in re.finditer(rf"\{letter}+", text))
    found = union((ord(run[0]), ord(run[-1])) for run in runs)
    return intersection(found, ANY)
