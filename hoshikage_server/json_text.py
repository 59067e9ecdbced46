"""Where things stand in a JSON text: for errors that name a line, and for keys that come twice.

msgspec decides what is JSON, and what is in it; it tells neither. What is walked here it has found to be JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

Step = str | int
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_DEEPEST = 8  # steps of a path that are told; no key that is known here lies deeper
_key = msgspec.json.Decoder(str)


class Spot(NamedTuple):
    """A place for people, counted from 1."""

    line: int
    column: int


class Member(NamedTuple):
    """A key of an object, or an item of an array, and the byte it begins at."""

    path: tuple[Step, ...]
    offset: int
    is_again: bool


@dataclass
class _Level:
    """An object or an array that is open."""

    is_object: bool
    step: Step = 0
    wants_key: bool = False
    keys: set[str] = field(default_factory=set)


def spot(content: bytes, offset: int) -> Spot:
    """Line and column of a byte."""
    before = content[:offset]
    start = before.rfind(b"\n") + 1
    return Spot(before.count(b"\n") + 1, len(before[start:].decode("utf-8", "replace")) + 1)


def members(content: bytes) -> Iterator[Member]:
    """All there are, from the first to the last."""
    levels: list[_Level] = []
    for match in _TOKEN.finditer(content):
        token = match[0]
        top = levels[-1] if levels else None
        if token in b"}]":
            levels.pop()
        elif token == b",":
            assert top is not None
            if top.is_object:
                top.wants_key = True
            elif isinstance(top.step, int):
                top.step += 1
        elif token == b":":
            assert top is not None
            top.wants_key = False
        elif top is not None and top.is_object and top.wants_key:
            top.step = _key.decode(token)
            yield Member(_path(levels), match.start(), top.step in top.keys)
            top.keys.add(top.step)
        else:
            if top is not None and not top.is_object:
                yield Member(_path(levels), match.start(), False)
            if token in b"{[":
                levels.append(_Level(token == b"{", wants_key=token == b"{"))


def offset_of(content: bytes, path: Sequence[Step]) -> int:
    """Where the member at a path begins, or the nearest one above it that there is."""
    best, offset = 0, max(content.find(b"{"), 0)
    for member in members(content):
        n = len(member.path)
        if best < n <= len(path) and member.path == tuple(path[:n]):
            best, offset = n, member.offset
            if n == len(path):
                break
    return offset


def first_again(content: bytes) -> Member | None:
    """The first key that its object has already: all but one of its values would be lost."""
    return next((member for member in members(content) if member.is_again), None)


def _path(levels: Sequence[_Level]) -> tuple[Step, ...]:
    return tuple(level.step for level in levels[:_DEEPEST])
