"""Why a text is no JSON, for people: the byte, and what to write instead.

msgspec says it in English sentences, which are read here and nowhere else; what is not known is told as "no JSON".
"""

from __future__ import annotations

import re

from hoshikage_server import json_text
from hoshikage_server.messages import Sentence, said

_BYTE = re.compile(r"^JSON is malformed: (?P<what>.*) \(byte (?P<at>\d+)\)$")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_HALF_PAIR = "half_a_surrogate_pair"
_COMMENTS = b"/#"
_BRACKETS = b"}]"
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


def fault(content: bytes, error: Exception) -> tuple[int, Sentence]:
    """The byte where a text stops being JSON, and what is wrong there.

    Args:
        content: The text.
        error: What msgspec or the codec raised.
    """
    if isinstance(error, UnicodeDecodeError):
        return error.start, said("json_not_utf8")
    found = _BYTE.match(str(error))
    if found is None:  # it ends too early; msgspec says the same of half a surrogate pair near the end
        half = _half_pair(content.rstrip())
        return (len(content.rstrip()), said("json_ends_early")) if half is None else (half, said(_HALF_PAIR))
    return _explain(content, int(found["at"]), found["what"])


def told(content: bytes, error: Exception) -> Sentence:
    """The same in one sentence, with line and column."""
    if isinstance(error, RecursionError):
        return said("too_many_levels")
    offset, what = fault(content, error)
    line, column = json_text.spot(content, offset)
    return said("map_at", line=line, column=column, what=what)


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
        return escape, said(_HALF_PAIR if _SURROGATE.match(content, escape) else "json_backslash")
    if key == "json_comma_missing":  # it is missing where the value before it ends
        return len(before), said(key)
    return offset, said(key or "json_malformed")
