"""What is wrong with model_map.json, for whoever edited it: the line, and what to write instead."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hoshikage_server.errors import ModelMapError, RequestError
from hoshikage_server.invalid import shorten
from hoshikage_server.messages import Sentence, said
from hoshikage_server.registry import json_text
from hoshikage_server.registry.json_text import Step

_BYTE = re.compile(r"^JSON is malformed: (?P<what>.*) \(byte (?P<at>\d+)\)$")
_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_IDS_TOLD = 20
_COMMENTS = b"/#"
_BRACKETS = b"}]"
# By what msgspec says; what is not here is told as "no JSON".
_SYNTAX = {
    "expected ':'": "json_colon_missing",
    "expected ',' or '}'": "json_comma_missing",
    "expected ',' or ']'": "json_comma_missing",
    "expected '\"'": "json_quotes_missing",
    "object keys must be strings": "json_quotes_missing",
    "trailing comma in object": "json_comma_at_end",
    "trailing comma in array": "json_comma_at_end",
    "invalid escape character in string": "json_backslash",
    "invalid character in unicode escape": "json_backslash",
    "unexpected end of hex escape": "json_backslash",
}


def at(path: Path, content: bytes, offset: int, what: Sentence) -> ModelMapError:
    """The error for something that begins at a byte."""
    line, column = json_text.spot(content, offset)
    reason = said("map_at", line=line, column=column, what=what)
    return ModelMapError("invalid_model_map", path=path, reason=reason, line=line, column=column)


def of_entry(path: Path, content: bytes, model_id: str, error: RequestError) -> ModelMapError:
    """The error for a value that an entry has, or lacks."""
    steps: list[Step] = [int(index) if index else key for index, key in _STEP.findall(error.param or "")]
    return member(path, content, [model_id, *steps], said("map_entry", model=model_id, what=error))


def of_ids(path: Path, content: bytes, reasons: Mapping[str, Sentence]) -> tuple[ModelMapError, ...]:
    """What is said of the first models that are left out because of their names."""
    if not reasons:
        return ()
    offsets = {one.path[0]: one.offset for one in json_text.members(content) if len(one.path) == 1}
    told = []
    for model_id, reason in itertools.islice(reasons.items(), _IDS_TOLD):
        line, column = json_text.spot(content, offsets[model_id])
        name = shorten(ascii(model_id))
        told.append(ModelMapError("map_id_refused", path=path, line=line, column=column, name=name, reason=reason))
    return tuple(told)


def member(path: Path, content: bytes, steps: Sequence[Step], what: Sentence) -> ModelMapError:
    """The error for a key or an item."""
    return at(path, content, json_text.offset_of(content, steps), what)


def syntax(path: Path, content: bytes, error: Exception) -> ModelMapError:
    """The error for a file that is no JSON object."""
    if isinstance(error, UnicodeDecodeError):
        return at(path, content, error.start, said("map_not_utf8"))
    if isinstance(error, RecursionError):
        return ModelMapError("invalid_model_map", path=path, reason=said("too_many_levels"))
    if isinstance(error, msgspec.ValidationError):
        return at(path, content, len(content) - len(content.lstrip()), said("map_no_object"))
    found = _BYTE.match(str(error))
    if found is None:  # it ends too early; msgspec says the same of half a surrogate pair near the end
        half = _half_pair(content.rstrip())
        if half is not None:
            return at(path, content, half, said("half_a_surrogate_pair"))
        return at(path, content, len(content.rstrip()), said("json_ends_early"))
    offset = int(found["at"])
    return at(path, content, *_explain(content, offset, found["what"]))


def _half_pair(content: bytes) -> int | None:
    """Where one half of a surrogate pair is escaped without the other; the last thing of a file may have been cut."""
    for escape in _ESCAPE.finditer(content):
        if _SURROGATE.fullmatch(escape[0]) and escape.end() < len(content):
            return escape.start()
    return None


def _explain(content: bytes, offset: int, what: str) -> tuple[int, Sentence]:
    char = content[offset : offset + 1]
    before = content[:offset].rstrip()
    if char and char in _COMMENTS:
        return offset, said("json_comment")
    if char == b"'":
        return offset, said("json_single_quotes")
    if before.endswith(b",") and char and char in _BRACKETS:
        return len(before) - 1, said("json_comma_at_end")
    if char in (b"\n", b"\t", b"\r") and what == "invalid character":
        return offset, said("json_text_not_closed")
    if before.endswith(b"\\"):
        return len(before) - 1, said("json_backslash")
    if what == "trailing characters":  # the first of them has been read
        return offset - 1, said("json_goes_on")
    key = _SYNTAX.get(what)
    if key == "json_backslash" or "surrogate" in what:
        escape = max(content.rfind(b"\\", 0, offset), 0)
        return escape, said("half_a_surrogate_pair" if _SURROGATE.match(content, escape) else "json_backslash")
    if key == "json_comma_missing":  # it is missing where the value before it ends
        return len(before), said(key)
    return offset, said(key or "json_malformed")
