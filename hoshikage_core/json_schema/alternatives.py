"""From schemas that apply other schemas in place ($ref, allOf, anyOf, oneOf) to a choice of plain ones."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import keywords
from hoshikage_core.json_schema.document import REFERS_TO_ITSELF, Document, Schema

Alternative = tuple[dict[str, Any], ...]
"""Schemas that all apply, of which only the keywords that are not applied in place count."""

N_ALTERNATIVES_MAX = 500
_TOO_MANY = Reason("too_many_alternatives", "has more than {limit} alternatives", limit=N_ALTERNATIVES_MAX)
_N_REFS_MAX = 60


class Alternatives:
    """Expands schemas of a document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: list[dict[str, Any]] = []
        self._known: dict[int, list[Alternative]] = {}

    def of(self, schema: Schema) -> list[Alternative]:
        """Values that match any of the alternatives match the schema, and the other way round.

        Raises:
            JsonSchemaError: The schema refers to itself without end, or has too many alternatives.
        """
        if isinstance(schema, bool) or keywords.is_never(schema):
            return [] if keywords.is_never(schema) else [()]
        if id(schema) not in self._known:
            if any(schema is other for other in self._open) or len(self._open) > _N_REFS_MAX:
                keyword = next(iter(keywords.IN_PLACE.intersection(schema)), "")
                raise self._document.malformed(schema, keyword, REFERS_TO_ITSELF)
            self._open.append(schema)
            self._known[id(schema)] = self._expand(schema)
            self._open.pop()
        return self._known[id(schema)]

    def of_all(self, schemas: tuple[Schema, ...]) -> list[Alternative]:
        """The alternatives of schemas that all apply."""
        result: list[Alternative] = [()]
        for schema in schemas:
            options = self.of(schema)
            if len(result) * len(options) > N_ALTERNATIVES_MAX:
                raise self._document.malformed(schema, "", _TOO_MANY)
            result = [_joined(left, right) for left in result for right in options]
        return result

    def _expand(self, schema: dict[str, Any]) -> list[Alternative]:
        parts: list[list[Alternative]] = [[(schema,)]]
        if "$ref" in schema:
            parts.append(self.of(self._document.resolve(schema)))
        parts += [self.of(part) for part in schema.get("allOf", ())]
        if "anyOf" in schema:
            parts.append([option for part in schema["anyOf"] for option in self.of(part)])
        if "oneOf" in schema:
            parts.append(self._one_of(schema))
        result = parts[0]
        for options in parts[1:]:
            if len(result) * len(options) > N_ALTERNATIVES_MAX:
                raise self._document.malformed(schema, "", _TOO_MANY)
            result = [_joined(left, right) for left in result for right in options]
        return result

    def _one_of(self, schema: dict[str, Any]) -> list[Alternative]:
        """The branches of oneOf, which must exclude each other: no grammar knows whether a value matches two."""
        branches = [self.of(part) for part in schema["oneOf"]]
        distinguishing: dict[str, None] = {}
        for (i, left), (j, right) in itertools.combinations(enumerate(branches), 2):
            for pair in itertools.product(left, right):
                reason = self._difference(*pair)
                if reason is None:
                    self._document.unsupported(
                        schema,
                        "oneOf",
                        Reason(
                            "one_of_both",
                            "cannot be enforced: a value may match both {i} and {j}; say anyOf, or give both a "
                            "required property with different constants",
                            i=i,
                            j=j,
                        ),
                    )
                elif reason:
                    distinguishing[reason] = None
        if distinguishing:
            # A value without the property could match several.
            required = self._document.derived(schema, {"required": list(distinguishing)})
            branches = [[(*option, required) for option in branch] for branch in branches]
        return [option for branch in branches for option in branch]

    def _difference(self, left: Alternative, right: Alternative) -> str | None:
        """Why no value matches both: the name of a property, "" for what needs no property, None for no reason."""
        if not declared_types(left) & declared_types(right):
            return ""
        left_values, right_values = _literals(left), _literals(right)
        if left_values is not None and right_values is not None and not left_values & right_values:
            return ""
        if declared_types(left) & declared_types(right) != {"object"}:
            return None
        left_members, right_members = self._member_values(left), self._member_values(right)
        for name in left_members.keys() & right_members.keys():
            if not left_members[name] & right_members[name]:
                return name
        return None

    def _member_values(self, alternative: Alternative) -> dict[str, frozenset[str]]:
        """The values of the properties that are constants."""
        members: dict[str, frozenset[str]] = {}
        for schema in alternative:
            for name, member in schema.get("properties", {}).items():
                options = self.of(member)
                values = [_literals(option) for option in options]
                if options and None not in values:
                    members[name] = frozenset(text for found in values for text in found or ())
        return members


def declared_types(alternative: Alternative) -> frozenset[str]:
    """The types that an alternative's ``type`` keywords leave."""
    types = {"null", "boolean", "integer", "fraction", "string", "array", "object"}
    for schema in alternative:
        if "type" in schema:
            named = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
            types &= named | ({"integer", "fraction"} if "number" in named else set())
    return frozenset(types)


def canonical(value: Any) -> str:
    """A text that is equal for values that JSON Schema takes for equal."""
    return json.dumps(_canonical(value), sort_keys=True)


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    return value


def _literals(alternative: Alternative) -> frozenset[str] | None:
    """The values that const and enum leave; None when there is neither."""
    found: frozenset[str] | None = None
    for schema in alternative:
        for values in ([schema["const"]] if "const" in schema else None, schema.get("enum")):
            if values is not None:
                texts = frozenset(map(canonical, values))
                found = texts if found is None else found & texts
    return found


def _joined(left: Alternative, right: Alternative) -> Alternative:
    return (*left, *(schema for schema in right if not any(schema is other for other in left)))
