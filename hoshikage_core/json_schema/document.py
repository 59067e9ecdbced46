"""A JSON schema that was checked for being well-formed, with a name for each part of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from hoshikage_core.errors import JsonSchemaError, Reason
from hoshikage_core.json_schema import keywords
from hoshikage_core.json_schema.automaton import TooManyStatesError
from hoshikage_core.json_schema.patterns import compile_pattern
from hoshikage_core.json_schema.regex import RegexError

Schema: TypeAlias = dict[str, Any] | bool

UNENFORCEABLE = Reason("unenforceable", "cannot be enforced")
TOO_LARGE = Reason("too_large", "is too large to be enforced")
REFERS_TO_ITSELF = Reason("ref_itself", "refers to itself, or to others without end")

N_CHARS_MAX = 1_000_000
N_SCHEMAS_MAX = 10_000
N_PROPERTIES_MAX = 5_000
N_ENUM_MAX = 1_000
DEPTH_MAX = 64
_JSON_DEPTH_MAX = 200
_NO_OBJECT = Reason("schema_no_object", "must be an object")
_TOO_DEEP = Reason("schemas_too_deep", "is nested deeper than {limit} schemas", limit=DEPTH_MAX)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[\[\]{}]")


class Document:
    """A well-formed schema and all schemas in it.

    Attributes:
        root: The schema.
        text: The same as JSON.
        is_strict: Whether what cannot be enforced is an error; otherwise it is left out.
    """

    def __init__(self, schema: Mapping[str, Any] | bool, *, is_strict: bool) -> None:
        self.is_strict = is_strict
        self.text = _write(schema)
        self.root: dict[str, Any] = json.loads(self.text)
        self._paths: dict[int, str] = {}
        self._n_properties = 0
        self._kept: list[dict[str, Any]] = []  # an id() is a name only as long as its object lives
        self._check(self.root, "#")

    def path(self, schema: Schema) -> str:
        """The JSON pointer of a schema."""
        return self._paths.get(id(schema), "#")

    def derived(self, schema: Schema, new: dict[str, Any]) -> dict[str, Any]:
        """Keeps a schema that was made of one of the document's, and gives it the same path."""
        self._kept.append(new)
        self._paths[id(new)] = self.path(schema)
        return new

    def malformed(self, schema: Schema, keyword: str, reason: Reason) -> JsonSchemaError:
        """The error for what is wrong, in any mode."""
        return JsonSchemaError(self.path(schema), keyword, reason)

    def unsupported(self, schema: Schema, keyword: str, reason: Reason) -> None:
        """Raises JsonSchemaError for a keyword that cannot be enforced, unless it may be left out."""
        if self.is_strict:
            raise JsonSchemaError(self.path(schema), keyword, reason)

    def require_known(self, schema: dict[str, Any]) -> None:
        """Raises JsonSchemaError for a keyword that nothing here enforces, unless it may be left out."""
        for keyword, value in schema.items():
            if keyword in keywords.KNOWN or keyword.startswith("x-") or (keyword == "nullable" and not value):
                continue
            if keyword in ("then", "else") and "if" not in schema:
                continue
            self.unsupported(schema, keyword, UNENFORCEABLE)

    def resolve(self, schema: dict[str, Any]) -> Schema:
        """What the ``$ref`` of a schema refers to."""
        ref: str = schema["$ref"]
        if not ref.startswith("#"):
            raise self.malformed(
                schema, "$ref", Reason("ref_elsewhere", "refers to another document, which is never fetched")
            )
        if ref != "#" and not ref.startswith("#/"):
            text = "refers to an anchor: only JSON pointers, such as #/$defs/name, are supported"
            raise self.malformed(schema, "$ref", Reason("ref_anchor", text))
        target: Any = self.root
        for part in ref.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target = target[key]
            elif (
                isinstance(target, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(target)
            ):
                target = target[int(key)]
            else:
                text = "refers to nothing: there is no {ref}"
                raise self.malformed(schema, "$ref", Reason("ref_nothing", text, ref=_show(ref)))
        if not isinstance(target, (dict, bool)):
            text = "refers to what is no schema: {ref}"
            raise self.malformed(schema, "$ref", Reason("ref_no_schema", text, ref=_show(ref)))
        return target

    def _check(self, schema: Any, path: str) -> None:
        """Raises JsonSchemaError unless a schema, and each in it, is well-formed."""
        queue = [(schema, path, 0)]
        while queue:
            schema, path, depth = queue.pop()
            if isinstance(schema, bool) and path != "#":
                continue
            if not isinstance(schema, dict):
                if path == "#":
                    raise JsonSchemaError(path, "", _NO_OBJECT)
                raise JsonSchemaError(path, "", Reason("no_schema", "must be a schema: an object, true or false"))
            if depth > DEPTH_MAX:
                raise JsonSchemaError(path, "", _TOO_DEEP)
            if id(schema) in self._paths:
                continue
            self._paths[id(schema)] = path
            if len(self._paths) > N_SCHEMAS_MAX:
                text = "holds more than {limit} schemas"
                raise JsonSchemaError("#", "", Reason("too_many_schemas", text, limit=N_SCHEMAS_MAX))
            self._check_values(schema)
            queue += [(part, f"{path}/{where}", depth + 1) for where, part in self._parts(schema)]
            if "$ref" in schema:
                queue.append((self.resolve(schema), schema["$ref"], 0))

    def _parts(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The schemas that are directly in one, with where they are."""
        for keyword, value in schema.items():
            if keyword in keywords.SCHEMA_LIST or (keyword == "items" and isinstance(value, list)):
                if not isinstance(value, list) or not value:
                    raise self.malformed(schema, keyword, Reason("no_schemas", "must be a list of at least one schema"))
                yield from ((f"{keyword}/{i}", part) for i, part in enumerate(value))
            elif keyword in keywords.SCHEMA:
                yield keyword, value
            elif keyword in keywords.SCHEMA_MAP:
                if not isinstance(value, dict):
                    raise self.malformed(
                        schema, keyword, Reason("no_named_schemas", "must be an object that holds schemas")
                    )
                yield from ((f"{keyword}/{_escape(name)}", part) for name, part in value.items())

    def _check_values(self, schema: dict[str, Any]) -> None:
        for keyword, value in schema.items():
            found = keywords.VALUES.get(keyword)
            if found is not None and not found[0](value):
                raise self.malformed(schema, keyword, found[1])
        for low, high in (
            ("minLength", "maxLength"),
            ("minItems", "maxItems"),
            ("minProperties", "maxProperties"),
            ("minimum", "maximum"),
        ):
            if low in schema and high in schema and schema[low] > schema[high]:
                raise self.malformed(schema, low, Reason("is_above", "is above {high}", high=high))
        if len(schema.get("enum", ())) > N_ENUM_MAX:
            raise self.malformed(
                schema, "enum", Reason("enum_too_long", "has more than {limit} values", limit=N_ENUM_MAX)
            )
        properties = schema.get("properties")
        self._n_properties += len(properties) if isinstance(properties, dict) else 0
        if self._n_properties > N_PROPERTIES_MAX:
            text = "declares more than {limit} properties"
            raise JsonSchemaError("#", "", Reason("too_many_properties", text, limit=N_PROPERTIES_MAX))
        patterns = schema.get("patternProperties")
        self._check_patterns(schema, "patternProperties", patterns if isinstance(patterns, dict) else ())
        self._check_patterns(schema, "pattern", [schema["pattern"]] if "pattern" in schema else ())

    def _check_patterns(self, schema: dict[str, Any], keyword: str, patterns: Any) -> None:
        for pattern in patterns:
            try:
                compile_pattern(pattern)
            except RegexError as error:
                if error.is_malformed:
                    reason = Reason("of_pattern", "{pattern} {why}", pattern=_show(pattern), why=error.reason)
                    raise self.malformed(schema, keyword, reason) from None
            except TooManyStatesError:
                pass  # said when it is needed


def _write(schema: object) -> str:
    """A schema as JSON text.

    Raises:
        JsonSchemaError: It is no JSON, or too large.
    """
    if not isinstance(schema, Mapping):
        raise JsonSchemaError("#", "", _NO_OBJECT)
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode("utf-8")
    except RecursionError:
        raise JsonSchemaError("#", "", _TOO_DEEP) from None
    except (TypeError, ValueError) as error:
        reason = Reason("not_as_json", "cannot be written as JSON: {words}", words=str(error))
        raise JsonSchemaError("#", "", reason) from None
    if len(text) > N_CHARS_MAX:
        reason = Reason("schema_too_long", "is longer than {limit} characters", limit=N_CHARS_MAX)
        raise JsonSchemaError("#", "", reason)
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _JSON_DEPTH_MAX:
            text = "is nested deeper than {limit} brackets"
            raise JsonSchemaError("#", "", Reason("too_many_brackets", text, limit=_JSON_DEPTH_MAX))
    return text


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
