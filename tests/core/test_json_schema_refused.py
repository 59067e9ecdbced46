"""Which schemas are refused: what no grammar can enforce, what is no schema, and what would explode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hoshikage_core import (
    JsonSchemaError,
    enforceable,
)

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # malformed
    ({"type": "text"}, "#", "type"),
    ({"type": []}, "#", "type"),
    ({"properties": {"a": 5}}, "#/properties/a", ""),
    ({"properties": {"a/b": {"type": 1}}}, "#/properties/a~1b", "type"),
    ({"properties": []}, "#", "properties"),
    ({"required": ["a", "a"]}, "#", "required"),
    ({"required": "a"}, "#", "required"),
    ({"enum": []}, "#", "enum"),
    ({"anyOf": []}, "#", "anyOf"),
    ({"items": 5}, "#/items", ""),
    ({"minLength": -1}, "#", "minLength"),
    ({"minimum": 0, "maximum": 1e-300}, "#", "maximum"),
    ({"minimum": -1e-300, "maximum": 1, "multipleOf": 2.5}, "#", "minimum"),
    ({"minLength": 1.5}, "#", "minLength"),
    ({"minLength": 3, "maxLength": 1}, "#", "minLength"),
    ({"items": {"minimum": 5, "maximum": 1}}, "#/items", "minimum"),
    ({"minimum": "1"}, "#", "minimum"),
    ({"exclusiveMinimum": True}, "#", "exclusiveMinimum"),
    ({"multipleOf": 0}, "#", "multipleOf"),
    ({"uniqueItems": 1}, "#", "uniqueItems"),
    ({"type": "string", "pattern": "("}, "#", "pattern"),
    ({"type": "string", "pattern": "a{3,1}"}, "#", "pattern"),
    ({"type": "string", "pattern": "[z-a]"}, "#", "pattern"),
    ({"type": "string", "pattern": "a{3000}"}, "#", "pattern"),
    ({"type": "string", "pattern": "a{999999999,999999999}"}, "#", "pattern"),  # no text that holds a brace
    ({"type": "string", "pattern": "*a"}, "#", "pattern"),
    ({"type": "string", "pattern": "a\\"}, "#", "pattern"),
    ({"$ref": "#/nowhere"}, "#", "$ref"),
    ({"$ref": "other.json"}, "#", "$ref"),
    ({"properties": {"a": {"$ref": "http://x/y"}}}, "#/properties/a", "$ref"),
    ({"$defs": {"unused": {"type": "text"}}, "type": "null"}, "#/$defs/unused", "type"),
    # no value matches, or none that ends
    ({"type": "string", "enum": [1]}, "#", ""),
    ({"type": "integer", "const": 1.5}, "#", ""),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "#", ""),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "#", ""),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "#", ""),
    ({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}, "#", ""),
    ({"$ref": "#"}, "#", "$ref"),
    ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "#", "anyOf"),
    # what no grammar enforces
    ({"not": {"type": "null"}}, "#", "not"),
    ({"if": {"type": "null"}, "then": {"type": "null"}}, "#", "if"),
    ({"type": "array", "contains": {"type": "null"}}, "#", "contains"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "#", "uniqueItems"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "#", "dependentRequired"),
    ({"type": "object", "minProperties": 3}, "#", "minProperties"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "#", "oneOf"),
    ({"type": "string", "format": "idn-email"}, "#", "format"),
    ({"type": "string", "pattern": "(?=a)b"}, "#", "pattern"),
    ({"type": "string", "pattern": "(a)\\1"}, "#", "pattern"),
    ({"type": "string", "pattern": "\\bword\\b"}, "#", "pattern"),
    ({"type": "string", "pattern": "a{12345678901234567890}"}, "#", "pattern"),
    ({"type": "number", "multipleOf": 0.123457}, "#", "multipleOf"),
    ({"minLenght": 3}, "#", "minLenght"),
    ({"items": {"unevaluatedItems": {"type": "null"}, "$ref": "#"}}, "#/items", "unevaluatedItems"),
    ({"type": "string", "nullable": True}, "#", "nullable"),
    # nor a list of values, where nothing here checks them against it
    ({"const": {"a": 1}, "dependentRequired": {"a": ["b"]}}, "#", "dependentRequired"),
    ({"const": [1], "contains": {"const": 2}}, "#", "contains"),
    ({"const": [], "contains": True}, "#", "contains"),
    ({"enum": [{"a": 1}], "unevaluatedProperties": False}, "#", "unevaluatedProperties"),
    ({"enum": [[1]], "unevaluatedItems": False}, "#", "unevaluatedItems"),
    ({"enum": [{"a": 1}], "properties": {"a": {"not": {"const": 1}}}}, "#/properties/a", "not"),
    ({"enum": ["b"], "pattern": "(?=a)b"}, "#", "pattern"),
    ({"enum": [{"b": 1}], "patternProperties": {"(?=a)b": False}}, "#", "patternProperties"),
    ({"enum": ["b"], "format": "idn-email"}, "#", "format"),
]


@pytest.mark.parametrize(("schema", "path", "keyword"), REFUSED, ids=[json.dumps(row[0])[:60] for row in REFUSED])
def test_what_cannot_be_enforced_is_refused(schema: dict[str, Any], path: str, keyword: str) -> None:
    """The error names the keyword and the place."""
    with pytest.raises(JsonSchemaError) as caught:
        enforceable(schema)
    assert (caught.value.path, caught.value.keyword) == (path, keyword)


@pytest.mark.parametrize(
    "schema",
    [5, None, [], True, "x", {"type": "a\ud800"}, {"const": float("nan")}, {"a": {1}}, {"$defs": {"a": [[]] * 3}}],
    ids=repr,
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    """Whatever the argument is, the error is a JsonSchemaError."""
    with pytest.raises(JsonSchemaError):
        enforceable(schema)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(70),
        nested(5000),
        {"enum": list(range(1001))},
        {"properties": {str(i): {} for i in range(5001)}},
        {"anyOf": [{} for _ in range(10_001)]},
        {"description": "x" * 1_000_001},
        {"allOf": [{"anyOf": [{"minimum": i} for i in range(30)]}, {"anyOf": [{"maximum": i} for i in range(30)]}]},
        {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
        {"type": "string", "pattern": "(a|b)*a(a|b){20}"},
        {"type": "string", "pattern": "(" * 60 + ")" * 60},
        {
            "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}", "minimum": i} for i in range(500)} | {"500": {}},
            "$ref": "#/$defs/0",
        },
        {
            "type": "object",
            "properties": {str(i): {"type": "string", "pattern": f"^x{i}.?.?(.?){{1900}}$"} for i in range(25)},
        },
    ],
    ids=[
        "deep",
        "very deep",
        "enum",
        "properties",
        "schemas",
        "long",
        "product",
        "repeats",
        "states",
        "groups",
        "refs",
        "work",
    ],
)
def test_too_much_is_refused(schema: dict[str, Any]) -> None:
    """A schema cannot make a grammar explode."""
    with pytest.raises(JsonSchemaError):
        enforceable(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}], "unevaluatedProperties": False},
        {"allOf": [{"prefixItems": [{"type": "null"}], "minItems": 1}], "unevaluatedItems": False},
    ],
)
def test_relaxed_leaves_out_what_depends_on_other_schemas(schema: dict[str, Any]) -> None:
    """It is not taken for a word about all members, with which nothing would match."""
    with pytest.raises(JsonSchemaError, match="beside other schemas"):
        enforceable(schema)
    enforceable(schema, strict=False)


def test_relaxed_leaves_out_what_cannot_be_enforced() -> None:
    """Without strict, the rest of the schema still holds, and what is malformed is still refused."""
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "format": "color", "minLength": 1},
            "b": {"not": {"const": 1}, "type": "integer"},
        },
        "required": ["a"],
        "if": {"required": ["b"]},
        "unknown": 1,
    }
    relaxed = enforceable(schema, strict=False)
    assert list(relaxed["properties"]) == ["a", "b"]
    assert relaxed["required"] == ["a"]
    with pytest.raises(JsonSchemaError):
        enforceable({**schema, "type": "text"}, strict=False)
