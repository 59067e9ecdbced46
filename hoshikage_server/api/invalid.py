"""msgspec's complaints as OpenAI would put them.

msgspec says what is wrong only in a sentence, "Expected `float | null`, got `str` - at `$.temperature`". The forms of
that sentence are read here and nowhere else; a test runs each of them, so that a change of msgspec shows.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hoshikage_server.errors import RequestError
from hoshikage_server.messages import Words

_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
_BOUND = re.compile(r"^Expected `(?P<type>int|float)` (?P<sign>>=|<=|>|<) (?P<limit>\S+)$")
_LENGTH = re.compile(r"^Expected `(?P<type>str|array|object)` of length (?P<sign>>=|<=) (?P<limit>\d+)$")
_PATTERN = re.compile(r"^Expected `str` matching regex '(?P<pattern>.*)'$")
_TYPE = re.compile(r"^Expected `(?P<expected>[^`]+)`")
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")

_TYPE_NAMES = {
    "array": "type_array",
    "bool": "type_boolean",
    "float": "type_decimal",
    "int": "type_integer",
    "object": "type_object",
    "other": "type_other",
    "str": "type_string",
}
_SUPPORTED = {
    "role": "'system', 'developer', 'user', 'assistant', 'tool', 'function'",
    "content.type": "'text', 'refusal'",
    "tools.type": "'function'",
    "tool_calls.type": "'function'",
    "tool_choice": "'none', 'auto', 'required'",
    "tool_choice.type": "'function', 'allowed_tools'",
    "allowed_tools.mode": "'auto', 'required'",
    "response_format.type": "'text', 'json_object', 'json_schema'",
    "prediction.type": "'content'",
    "reasoning_effort": "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'",
    "verbosity": "'low', 'medium', 'high'",
    "service_tier": "'auto', 'default', 'flex', 'scale', 'priority', 'fast'",
    "reasoning_format": "'none', 'auto', 'deepseek', 'deepseek-legacy'",
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_MAX_SHOWN = 80
_UNKNOWN: Final = object()  # stands for a value that was not found


def from_validation(complaint: str, body: bytes, words: Mapping[str, str] = _SUPPORTED) -> RequestError:
    """OpenAI's error for what msgspec said about a body.

    Args:
        complaint: msgspec's.
        body: The JSON that was decoded.
        words: What fields take that are one of a few words: by their last name, or by their last two.
    """
    match = _PATH.match(complaint)
    what, path = (match["what"], match["path"] or "") if match else (complaint, "")
    param = path.lstrip(".")
    if missing := _MISSING.match(what):
        return RequestError("missing_required_parameter", param=f"{param}.{missing['field']}".lstrip("."))
    value = _value_at(body, path)
    supported = _supported(param, words)
    if _is_fine(value, what) or show(value) in supported.split(", "):
        return RequestError("duplicate_parameter", param=param or None)
    if bound := _BOUND.match(what):
        return _out_of_bounds(param, bound, value)
    if length := _LENGTH.match(what):
        return _wrong_length(param, length, value)
    if pattern := _PATTERN.match(what):
        return RequestError("string_does_not_match", param=param or None, got=show(value), pattern=pattern["pattern"])
    if what.startswith("Integer value out of range"):
        return RequestError("number_out_of_range", param=param)
    if what.startswith("Number out of range"):
        return _beyond_doubles(param, value)
    if expected := _TYPE.match(what):
        return RequestError(
            "invalid_type", param=param or None, expected=_type_names(expected["expected"]), got=_type_name(value)
        )
    return RequestError("invalid_value", param=param or None, got=show(value), supported=supported)


def show(value: object) -> str:
    """A client's value in a message: as JSON, but text as OpenAI quotes it; short, and on one line."""
    if value is _UNKNOWN:
        return "…"
    try:
        text = json.dumps(value, ensure_ascii=False)
        if not text.isprintable():
            text = json.dumps(value)
    except RecursionError:
        return "…"
    if isinstance(value, str):
        text = f"'{text[1:-1]}'"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _supported(param: str, words: Mapping[str, str]) -> str:
    names = re.sub(r"\[[^]]*\]", "", param).split(".")
    return words.get(".".join(names[-2:]), words.get(names[-1], ""))


def _out_of_bounds(param: str, bound: re.Match[str], value: object) -> RequestError:
    kind = "integer" if bound["type"] == "int" else "decimal"
    side = "above_max" if bound["sign"] in ("<=", "<") else "below_min"
    limit = bound["limit"].removesuffix(".0")
    return RequestError(f"{kind}_{side}_value", param=param, limit=limit, got=show(value))


def _beyond_doubles(param: str, value: object) -> RequestError:
    limit = "1.7976931348623157e308"
    if isinstance(value, float) and value < 0:
        return RequestError("decimal_below_min_value", param=param, limit=f"-{limit}", got="-infinity")
    return RequestError("decimal_above_max_value", param=param, limit=limit, got="infinity")


def _wrong_length(param: str, length: re.Match[str], value: Any) -> RequestError:
    if length["sign"] == "<=":
        got = show(value) if value is _UNKNOWN else len(value)
        codes = {
            "str": "string_above_max_length",
            "array": "array_above_max_length",
            "object": "object_above_max_properties",
        }
        return RequestError(codes[length["type"]], param=param, limit=length["limit"], got=got)
    return RequestError("empty_string" if length["type"] == "str" else "empty_array", param=param)


def _value_at(body: bytes, path: str) -> Any:
    """The value a path leads to; _UNKNOWN where it leads nowhere (`[...]` is msgspec's for "some value of an object").

    Of a key that comes more than once it is the last one.
    """
    raw = msgspec.Raw(body)
    try:
        for step in _STEP.finditer(path):
            if step["key"] is not None:
                raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[step["key"]]
            else:
                raw = msgspec.json.decode(raw, type=list[msgspec.Raw])[int(step["index"])]
        try:
            return msgspec.json.decode(raw)
        except msgspec.DecodeError:
            return float(bytes(raw))  # a number that fits nothing becomes infinite
    except (msgspec.DecodeError, RecursionError, KeyError, IndexError, ValueError):
        return _UNKNOWN


def _is_fine(value: Any, complaint: str) -> bool:
    """Whether a complaint does not hold: then it is about an earlier value of a key that comes more than once."""
    if value is _UNKNOWN:
        return False
    if bound := _BOUND.match(complaint):
        limit = int(bound["limit"]) if bound["type"] == "int" else float(bound["limit"])
        return _kind(value) not in ("int", "float") or _COMPARE[bound["sign"]](value, limit)
    if length := _LENGTH.match(complaint):
        return _kind(value) not in ("str", "array", "object") or _COMPARE[length["sign"]](
            len(value), int(length["limit"])
        )
    if pattern := _PATTERN.match(complaint):
        return _kind(value) != "str" or re.search(pattern["pattern"], value) is not None
    if expected := _TYPE.match(complaint):
        kinds = expected["expected"].split(" | ")
        return _kind(value) in kinds or (_kind(value) == "int" and "float" in kinds)
    if "out of range" in complaint:
        return _kind(value) != "float" or not math.isinf(value)
    return False


def _kind(value: object) -> str:
    """The name msgspec gives to a decoded value's type."""
    for types, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (str, "str"),
        (list, "array"),
        (dict, "object"),
    ):
        if isinstance(value, types):
            return name
    return "null" if value is None else "other"


def _type_names(expected: str) -> Words:
    return Words(_TYPE_NAMES.get(name, name) for name in expected.split(" | ") if name != "null") or Words(["null"])


def _type_name(value: object) -> Words:
    kind = _kind(value)
    return Words([_TYPE_NAMES.get(kind, kind)])
