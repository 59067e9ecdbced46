"""The value of a body that a path of msgspec leads to: `$.messages[0].content`, `$.metadata[...]` for "some value".

Bodies are hostile: nothing here takes more than linear time, and what is not found is UNKNOWN and no error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

UNKNOWN: Final = object()  # stands for a value that was not found

_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")
_SANE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_STEPS = 12  # each reads what is below it anew
_MAX_MEMBERS = 10_000  # that are looked at one by one
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_outermost = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw] | str | int | float | bool | None)
_items = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Place:
    """A value and where it is.

    Attributes:
        param: As OpenAI writes it, `messages[0].content` or `metadata.key`.
        value: What was found; UNKNOWN where that is nothing.
    """

    param: str
    value: Any


def find(body: bytes, path: str, is_wanted: Callable[[Any], bool], *, is_shallow: bool = False) -> Place:
    """The value at a path.

    Args:
        body: JSON, at least up to there.
        path: msgspec's, without the `$`.
        is_wanted: Which of several values it is, where the path does not tell. Of a key that comes more than once only
            the last value is known.
        is_shallow: Leave the items of a list and the values of an object unread.
    """
    steps = [(step["key"], step["index"]) for step in _STEP.finditer(path)]
    if len(steps) > _MAX_STEPS:
        return Place(steps[0][0] or "", UNKNOWN)
    last = Place(path.lstrip("."), UNKNOWN)
    for param, raw in _reached(msgspec.Raw(body), "", steps):
        last = Place(param.lstrip("."), _value(raw, is_shallow=is_shallow))
        if is_wanted(last.value):
            break
    return last


def keys(body: bytes, path: str) -> Iterator[str]:
    """The keys of an object."""
    steps = [(step["key"], step["index"]) for step in _STEP.finditer(path)]
    for _, raw in _reached(msgspec.Raw(body), "", steps):
        try:
            yield from _members.decode(raw)
        except msgspec.DecodeError:
            return


def _reached(
    raw: msgspec.Raw, param: str, steps: list[tuple[str | None, str | None]]
) -> Iterator[tuple[str, msgspec.Raw]]:
    if not steps:
        yield param, raw
        return
    (key, index), *rest = steps
    try:
        if key is not None:
            yield from _reached(_members.decode(raw)[key], f"{param}.{key}", rest)
        elif index == "...":
            members = _members.decode(raw)
            for name, inner in members.items() if len(members) <= _MAX_MEMBERS else ():
                yield from _reached(inner, f"{param}.{name}" if _SANE_KEY.fullmatch(name) else f"{param}[...]", rest)
        else:
            yield from _reached(_items.decode(raw)[int(index or 0)], f"{param}[{index}]", rest)
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, UnicodeDecodeError):
        return


def _value(raw: msgspec.Raw, *, is_shallow: bool) -> Any:
    try:
        return _outermost.decode(raw) if is_shallow else msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return float(bytes(raw))  # a number that fits nothing becomes infinite
    except ValueError:
        return UNKNOWN
