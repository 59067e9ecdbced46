"""The keywords of JSON Schema: what their values must look like, and what they speak about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoshikage_core.errors import Reason

TYPES = frozenset(
    [
        "null",
        "boolean",
        "integer",
        "number",
        "string",
        "array",
        "object",
    ]
)

ANNOTATIONS = frozenset(
    [
        "$schema",
        "$id",
        "$comment",
        "$vocabulary",
        "$defs",
        "definitions",
        "$anchor",
        "id",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "externalDocs",
        "xml",
    ]
)
"""Keywords that say nothing about which values are right, whatever stands in them."""

OF_TYPE: dict[str, frozenset[str]] = {
    "object": frozenset(
        [
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
            "unevaluatedProperties",
        ]
    ),
    "array": frozenset(
        [
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
            "unevaluatedItems",
        ]
    ),
    "string": frozenset(["minLength", "maxLength", "pattern", "format"]),
    "number": frozenset(
        [
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
        ]
    ),
}
"""Keywords that speak about values of one type only."""

IN_PLACE = frozenset(["$ref", "allOf", "anyOf", "oneOf"])
"""Keywords that apply other schemas to the same value."""

GENERAL = frozenset(["type", "enum", "const"])

KNOWN = frozenset().union(ANNOTATIONS, IN_PLACE, GENERAL, *OF_TYPE.values())
"""All but those that are always refused."""

SCHEMA = frozenset(
    [
        "additionalProperties",
        "items",
        "additionalItems",
        "contains",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "unevaluatedItems",
        "unevaluatedProperties",
        "contentSchema",
    ]
)
"""Keywords that hold a schema; ``items`` may hold a list of them, as before 2020."""

SCHEMA_LIST = frozenset(["anyOf", "oneOf", "allOf", "prefixItems"])
SCHEMA_MAP = frozenset(
    [
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
    ]
)


def is_number(value: object) -> bool:
    """A number; JSON's true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_never(schema: object) -> bool:
    """Whether a schema says that nothing matches: ``false``, or as some libraries write it, ``{"not": {}}``."""
    return schema is False or (isinstance(schema, dict) and "not" in schema and schema["not"] in ({}, True))


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _is_type(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _is_names(names) and len(names) > 0 and TYPES.issuperset(names)


_COUNT = (_is_count, Reason("no_count", "must be a whole number, not below 0"))
_NUMBER = (is_number, Reason("no_number", "must be a number"))
_TEXT = (lambda value: isinstance(value, str), Reason("no_string", "must be a string"))
_NO_TYPE = Reason(
    "no_type", "must be a type's name or a list of different ones: {names}", names=", ".join(sorted(TYPES))
)
_NO_VALUES = Reason("no_values", "must be a list of at least one value")
_SWITCH = (lambda value: isinstance(value, bool), Reason("no_switch", "must be true or false"))

VALUES: dict[str, tuple[Callable[[Any], bool], Reason]] = {
    "type": (_is_type, _NO_TYPE),
    "enum": (lambda value: isinstance(value, list) and len(value) > 0, _NO_VALUES),
    "required": (_is_names, Reason("no_names", "must be a list of different names")),
    "multipleOf": (lambda value: is_number(value) and value > 0, Reason("no_divisor", "must be a number above 0")),
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_names, value.values())),
        Reason("no_named_names", "must be an object of lists of different names"),
    ),
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], _NUMBER),
    **dict.fromkeys(
        [
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "minContains",
            "maxContains",
        ],
        _COUNT,
    ),
    **dict.fromkeys(["pattern", "format", "$ref", "$dynamicRef"], _TEXT),
    **dict.fromkeys(["uniqueItems", "nullable"], _SWITCH),
}
"""For keywords that hold no schemas: whether a value is right, and what is wrong otherwise."""
