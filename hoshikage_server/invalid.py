"""msgspec's complaints as OpenAI would put them.

msgspec says what is wrong only in a sentence, "Expected `float | null`, got `str` - at `$.temperature`". The forms of
that sentence are read here and nowhere else; a test runs each of them, so that a change of msgspec shows.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hoshikage_server import value_path
from hoshikage_server.engines.sampling import INT32_MAX
from hoshikage_server.errors import RequestError
from hoshikage_server.messages import Words
from hoshikage_server.settings import RPC_SERVER
from hoshikage_server.value_path import UNKNOWN

NESTING_MAX = 128  # levels: far more than any schema needs, and less than what anything here fails at
MEMBERS_MAX = 5000  # of one object: as many as OpenAI takes; llama.cpp's templates take time by their square
NO_LINE_END = r"(?!\n)"  # after `$`, which in Python lets one through
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1  # what msgpack can say

_AT, _OF_KEY = " - at `", "key` in `"
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_BOUND = re.compile(r"^Expected `(?P<type>int|float)` (?P<sign>>=|<=|>|<) (?P<limit>\S+)$")
_LENGTH = re.compile(r"^Expected `(?P<type>str|array|object)` of length (?P<sign>>=|<=) (?P<limit>\d+)$")
_PATTERN = re.compile(r"^Expected `str` matching regex (?P<pattern>['\"].*)$")
_TYPE = re.compile(r"^Expected `(?P<expected>[^`]+)`(?:, got `(?P<got>[^`]+)`)?$")
_TOKEN_ID = re.compile(r"0|[1-9]\d{0,9}")

_TYPE_NAMES = {
    "array": "type_array",
    "bool": "type_boolean",
    "float": "type_decimal",
    "int": "type_integer",
    "object": "type_object",
    "other": "type_other",
    "str": "type_string",
}
WORDS = {
    "encoding_format": "'float', 'base64'",
    "role": "'system', 'developer', 'user', 'assistant', 'tool', 'function'",
    "content.type": "'text'",
    "tools.type": "'function', 'custom'",
    "tool_calls.type": "'function', 'custom'",
    "format.type": "'text', 'grammar'",
    "grammar.syntax": "'lark', 'regex'",
    "function_call": "'none', 'auto'",
    "prompt_cache_retention": "'in_memory', '24h'",
    "prompt_cache_options.mode": "'implicit', 'explicit'",
    "prompt_cache_options.ttl": "'30m', '12h'",
    "tool_choice": "'none', 'auto', 'required'",
    "tool_choice.type": "'function', 'custom', 'allowed_tools'",
    "allowed_tools.mode": "'auto', 'required'",
    "response_format.type": "'text', 'json_object', 'json_schema'",
    "prediction.type": "'content'",
    "reasoning_effort": "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'",
    "verbosity": "'low', 'medium', 'high'",
    "language": "'ja', 'en', 'auto'",
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


def from_validation(complaint: str, body: bytes, words: Mapping[str, str] = WORDS) -> RequestError:
    """OpenAI's error for what msgspec said about a body.

    Args:
        complaint: msgspec's.
        body: The JSON that was decoded.
        words: What fields take that are one of a few words: by their last name, or by their last two or three.
    """
    what, path, is_of_key = _split(complaint)
    if missing := _MISSING.match(what):
        return RequestError("missing_required_parameter", param=f"{path}.{missing['field']}".lstrip("."))
    if is_of_key:
        return _bad_key(path, what, body)
    if unknown := _UNKNOWN.match(what):
        where = path.lstrip(".")
        name = f"{where}.{shorten(unknown['field'])}".lstrip(".")
        return RequestError("unknown_parameter", param=name, supported=_supported(where, words))
    is_length = _LENGTH.match(what) is not None
    place = value_path.find(body, path, lambda value: not _is_fine(value, what), is_shallow=is_length)
    param, value = place.param or None, place.value
    supported = _supported(place.param, words)
    is_word = supported and not is_length and show(value) in supported.split(", ")
    if _is_fine(value, what) or is_word:
        return RequestError("duplicate_parameter", param=param)
    if bound := _BOUND.match(what):
        return _out_of_bounds(place.param, bound, value)
    if length := _LENGTH.match(what):
        return _wrong_length(place.param, length, value)
    if pattern := _PATTERN.match(what):
        shown = _regex_of(pattern).removesuffix(NO_LINE_END)
        if shown == RPC_SERVER.removesuffix(NO_LINE_END):
            return RequestError("rpc_server_malformed", param=param, got=show(value))
        return RequestError("string_does_not_match", param=param, got=show(value), pattern=shown)
    if what.startswith("Integer value out of range"):
        return RequestError("number_out_of_range", param=param)
    if what.startswith("Number out of range"):
        return _beyond_doubles(place.param, value)
    if type_ := _TYPE.match(what):
        got = _named(type_["got"]) if type_["got"] else _type_name(value)
        return RequestError("invalid_type", param=param, expected=_type_names(type_["expected"]), got=got)
    return RequestError("invalid_value", param=param, got=show(value), supported=supported)


def check_free(value: object, param: str) -> None:
    """Refuses of a value that may be anything what no frame of an engine can hold.

    Raises:
        RequestError: It is nested too deeply, or holds a number or an object that is too large.
    """
    for level in _levels(value, param):
        if any(type(item) is int and not _INT64_MIN <= item <= _UINT64_MAX for item in level):
            raise RequestError("number_out_of_range", param=param)


def check_shape(value: object, param: str) -> None:
    """Refuses a value that is nested too deeply for what it goes through, or holds an object that is too large.

    Raises:
        RequestError: It is.
    """
    for _ in _levels(value, param):
        pass


def wrong_type(param: str, value: object, like: object) -> RequestError:
    """The error for a value in a list that is not of the same kind as the list's first one."""
    return RequestError("invalid_type", param=param, expected=_type_name(like), got=_type_name(value))


def show(value: object) -> str:
    """A client's value in a message: as JSON, but text as OpenAI quotes it; short, and on one line."""
    if value is UNKNOWN:
        return "…"
    if isinstance(value, str):
        value = value[: _MAX_SHOWN + 1]
    try:
        text = json.dumps(value, ensure_ascii=False)
        if not text.isprintable():
            text = json.dumps(value)
    except RecursionError:
        return "…"
    if isinstance(value, str):
        text = f"'{text[1:-1]}'"
    return shorten(text)


def shorten(text: str) -> str:
    """A text of a client's in a message: never as long as a body may be."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _supported(param: str, words: Mapping[str, str]) -> str:
    names = re.sub(r"\[[^]]*\]", "", param).split(".")
    return next((words[name] for n in (3, 2, 1) if (name := ".".join(names[-n:])) in words), "")


def _levels(value: object, param: str) -> Iterator[list[Any]]:
    level: list[Any] = [value]
    for _ in range(NESTING_MAX):
        n_members = max((len(item) for item in level if isinstance(item, dict)), default=0)
        if n_members > MEMBERS_MAX:
            raise RequestError("object_above_max_properties", param=param, limit=MEMBERS_MAX, got=n_members)
        yield level
        level = list(itertools.chain.from_iterable(map(_children, level)))
        if not level:
            return
    raise RequestError("nested_too_deeply", param=param, limit=NESTING_MAX)


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _split(complaint: str) -> tuple[str, str, bool]:
    """What is wrong, the path to it, and whether it is a key. What is wrong may hold any text of the client's."""
    what, at, where = complaint.rpartition(_AT)
    if not at:
        return complaint, "", False
    path = where.removesuffix("`")
    return what, path.removeprefix(_OF_KEY).removeprefix("$"), path.startswith(_OF_KEY)


def _regex_of(pattern: re.Match[str]) -> str:
    return str(ast.literal_eval(pattern["pattern"]))


def _bad_key(path: str, what: str, body: bytes) -> RequestError:
    """Keys are token ids, or of bounded length."""
    param = path.lstrip(".")
    if length := _LENGTH.match(what):
        limit = int(length["limit"])
        n_longest = max(map(len, value_path.keys(body, path)), default=limit)
        return RequestError("key_above_max_length", param=param, limit=limit, got=n_longest)
    bad = (key for key in value_path.keys(body, path) if not _is_token_id(key))
    key = next(bad, None)
    if key is None:
        return RequestError("duplicate_parameter", param=param)
    return RequestError("invalid_key", param=param, got=show(key))


def _is_token_id(key: str) -> bool:
    return _TOKEN_ID.fullmatch(key) is not None and int(key) <= INT32_MAX


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
        got = show(value) if value is UNKNOWN else len(value)
        codes = {
            "str": "string_above_max_length",
            "array": "array_above_max_length",
            "object": "object_above_max_properties",
        }
        return RequestError(codes[length["type"]], param=param, limit=length["limit"], got=got)
    return RequestError("empty_string" if length["type"] == "str" else "empty_array", param=param)


def _is_fine(value: Any, complaint: str) -> bool:
    """Whether a complaint does not hold: then it is about an earlier value of a key that comes more than once."""
    if value is UNKNOWN:
        return False
    if bound := _BOUND.match(complaint):
        limit = int(bound["limit"]) if bound["type"] == "int" else float(bound["limit"])
        return _kind(value) not in ("int", "float") or _COMPARE[bound["sign"]](value, limit)
    if length := _LENGTH.match(complaint):
        return _kind(value) not in ("str", "array", "object") or _COMPARE[length["sign"]](
            len(value), int(length["limit"])
        )
    if pattern := _PATTERN.match(complaint):
        return _kind(value) != "str" or re.search(_regex_of(pattern), value) is not None
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
    return _named(_kind(value))


def _named(kind: str) -> Words:
    """Of a type that was given: OpenAI expects "a decimal", and calls what came "a decimal number"."""
    return Words(["type_decimal_number" if kind == "float" else _TYPE_NAMES.get(kind, kind)])
