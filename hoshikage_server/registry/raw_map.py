"""model_map.json as it is written: whatever is not changed goes back exactly as it came, numbers of any size included.

Nothing of it is decoded but the ids and the names of keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hoshikage_server import json_text
from hoshikage_server.errors import RequestError
from hoshikage_server.messages import said
from hoshikage_server.registry import map_faults

RawEntry = dict[str, msgspec.Raw]
RawMap = dict[str, RawEntry | msgspec.Raw]

SCHEMA_KEY = "$schema"  # text under it names the file's schema, for editors, and is no model
_BOM = b"\xef\xbb\xbf"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(content: bytes, path: Path) -> RawMap:
    """Takes a file apart; an empty one has no entries.

    Raises:
        ModelMapError: It is no JSON object of objects, or has a key twice.
    """
    content = without_mark(content)
    if not content.strip():
        return {}
    try:
        content.decode()  # msgspec leaves unread what stays raw
        outer = _members.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise map_faults.syntax(path, content, error) from error
    if again := json_text.first_again(content):
        raise map_faults.at(path, content, again.offset, said("map_key_again", key=str(again.path[-1])))
    return {key: _entry(key, raw, content, path) for key, raw in outer.items()}


def without_mark(content: bytes) -> bytes:
    """The text without the byte order mark that some editors put before it."""
    return content.removeprefix(_BOM)


def entries(raw: RawMap) -> dict[str, RawEntry]:
    """Its models."""
    return {key: value for key, value in raw.items() if isinstance(value, dict)}


def write(raw: RawMap) -> bytes:
    """The file."""
    return msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n"


def merged(entry: Mapping[str, msgspec.Raw], keys: Mapping[str, Any], within: str = "") -> RawEntry:
    """An entry after a JSON merge patch (RFC 7396): None takes a key away, an object goes into the one that is there.

    Raises:
        RequestError: A value cannot be written.
    """
    new = dict(entry)
    for key, value in keys.items():
        value = _plain(value)
        if value is None:
            new.pop(key, None)
        elif isinstance(value, Mapping):
            new[key] = _raw(merged(_object(new.get(key)), value, f"{within}{key}."))
        else:
            new[key] = _raw(value, within + key)
    return new


def _entry(key: str, raw: msgspec.Raw, content: bytes, path: Path) -> RawEntry | msgspec.Raw:
    if key == SCHEMA_KEY and bytes(raw).startswith(b'"'):
        return raw.copy()
    try:
        return _members.decode(raw)
    except msgspec.ValidationError as error:
        raise map_faults.member(path, content, [key], said("map_entry_no_object", model=key)) from error


def _object(raw: msgspec.Raw | None) -> RawEntry:
    """The members of what is there; none of what is no object."""
    if raw is None or not bytes(raw).startswith(b"{"):
        return {}
    return _members.decode(raw)


def _plain(value: Any) -> Any:
    """A value that came as raw JSON, as far as has to be known of it."""
    if isinstance(value, msgspec.Raw):
        if bytes(value) == b"null":
            return None
        return _object(value) if bytes(value).startswith(b"{") else value
    return value


def _raw(value: Any, param: str | None = None) -> msgspec.Raw:
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number, msgspec would write null
        raise RequestError("number_out_of_range", param=param)
    return msgspec.Raw(msgspec.json.encode(value))
