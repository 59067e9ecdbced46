"""msgspec's complaints as OpenAI would put them.

msgspec says what is wrong only in a sentence, "Expected `float | null`, got `str` - at `$.temperature`". The forms of
that sentence are read here and nowhere else; a test runs each of them, so that a change of msgspec shows.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hoshikage_server.errors import RequestError

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
_BOUND = re.compile(r"^Expected `(?P<type>int|float)` (?P<sign>>=|<=|>|<) (?P<limit>\S+)$")
_LENGTH = re.compile(r"^Expected `(?P<type>str|array)` of length (?P<sign>>=|<=) (?P<limit>\d+)$")
_TYPE = re.compile(r"^Expected `(?P<expected>[^`]+)`")
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")

_TYPE_NAMES = {
    "array": "an array",
    "bool": "a boolean",
    "float": "a decimal",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
}
_SUPPORTED = {
    "role": "'system', 'developer', 'user', 'assistant'",
    "type": "'text'",
}
_MAX_SHOWN = 80


def from_validation(complaint: str, body: bytes) -> RequestError:
    """OpenAI's error for what msgspec said about a body."""
    match = _PATH.match(complaint)
    what, path = (match["what"], match["path"] or "") if match else (complaint, "")
    param = path.lstrip(".")
    if missing := _MISSING.match(what):
        return RequestError("missing_required_parameter", param=f"{param}.{missing['field']}".lstrip("."))
    value = _value_at(body, path)
    if bound := _BOUND.match(what):
        return _out_of_bounds(param, bound, value)
    if length := _LENGTH.match(what):
        return _wrong_length(param, length, value)
    if what.startswith("Number out of range"):
        return RequestError("decimal_above_max_value", param=param, limit="1.7976931348623157e308", got="infinity")
    if expected := _TYPE.match(what):
        return RequestError(
            "invalid_type", param=param or None, expected=_names(expected["expected"]), got=_name(value)
        )
    supported = _SUPPORTED.get(param.rpartition(".")[2], "")
    return RequestError("invalid_value", param=param or None, got=show(value), supported=supported)


def show(value: object) -> str:
    """A client's value in a message: short, and on one line."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _out_of_bounds(param: str, bound: re.Match[str], value: object) -> RequestError:
    kind = "integer" if bound["type"] == "int" else "decimal"
    side = "above_max" if bound["sign"] in ("<=", "<") else "below_min"
    limit = bound["limit"].removesuffix(".0")
    return RequestError(f"{kind}_{side}_value", param=param, limit=limit, got=show(value))


def _wrong_length(param: str, length: re.Match[str], value: Any) -> RequestError:
    if length["sign"] == "<=":
        return RequestError("array_above_max_length", param=param, limit=length["limit"], got=len(value))
    return RequestError("empty_string" if length["type"] == "str" else "empty_array", param=param)


def _value_at(body: bytes, path: str) -> Any:
    """The value a path leads to; None where it leads nowhere (`[...]` is msgspec's for "some value of an object")."""
    try:
        value: Any = msgspec.json.decode(body)
        for step in _STEP.finditer(path):
            value = value[step["key"]] if step["key"] is not None else value[int(step["index"])]
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, TypeError, ValueError):
        return None
    return value


def _names(expected: str) -> str:
    names = [_TYPE_NAMES.get(name, name) for name in expected.split(" | ") if name != "null"]
    return " or ".join(names) or "null"


def _name(value: object) -> str:
    if value is None:
        return "null"
    for types, name in (((bool,), "bool"), ((int,), "int"), ((float,), "float"), ((str,), "str"), ((list,), "array")):
        if isinstance(value, types):
            return _TYPE_NAMES[name]
    return _TYPE_NAMES["object"]
