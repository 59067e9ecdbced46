"""Whether a value matches a schema: for constants and enumerations beside other keywords."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from hoshikage_core.json_schema import keywords
from hoshikage_core.json_schema.alternatives import canonical
from hoshikage_core.json_schema.automaton import Dfa, TooManyStatesError
from hoshikage_core.json_schema.document import TOO_LARGE, UNENFORCEABLE, Document, Schema
from hoshikage_core.json_schema.formats import INTEGER_BOUNDS
from hoshikage_core.json_schema.gather_scalars import text_patterns
from hoshikage_core.json_schema.numbers import exact
from hoshikage_core.json_schema.patterns import compile_pattern
from hoshikage_core.json_schema.regex import RegexError

_UNCHECKED: dict[type, tuple[str, ...]] = {
    dict: ("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
    list: ("contains", "unevaluatedItems"),
}


class Matcher:
    """Checks values against schemas of a document; a keyword that it cannot check is refused, or left out."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def matches(self, value: Any, schema: Schema) -> bool:
        """Whether a value matches a schema with all that it applies in place."""
        if isinstance(schema, bool) or keywords.is_never(schema):
            return not keywords.is_never(schema)
        return (
            self.matches_plain(value, schema)
            and ("$ref" not in schema or self.matches(value, self._document.resolve(schema)))
            and all(self.matches(value, part) for part in schema.get("allOf", ()))
            and ("anyOf" not in schema or any(self.matches(value, part) for part in schema["anyOf"]))
            and ("oneOf" not in schema or sum(self.matches(value, part) for part in schema["oneOf"]) == 1)
        )

    def matches_plain(self, value: Any, schema: dict[str, Any]) -> bool:
        """Whether a value matches the keywords of a schema that are not applied in place."""
        self._document.require_known(schema)
        for keyword in _UNCHECKED.get(type(value), ()):
            if keyword in schema and (schema[keyword] is not True or keyword == "contains"):
                self._document.unsupported(schema, keyword, UNENFORCEABLE)
        if "type" in schema and not _has_type(
            value, [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        ):
            return False
        if "const" in schema and canonical(schema["const"]) != canonical(value):
            return False
        if "enum" in schema and canonical(value) not in map(canonical, schema["enum"]):
            return False
        if isinstance(value, str):
            return self._matches_text(value, schema)
        if isinstance(value, dict):
            return self._matches_object(value, schema)
        if isinstance(value, list):
            return self._matches_array(value, schema)
        return not keywords.is_number(value) or _matches_number(exact(value), schema)

    def _matches_text(self, value: str, schema: dict[str, Any]) -> bool:
        return _in_range(len(value), schema, "Length") and all(
            is_match(dfa, value) for _, dfa in text_patterns(self._document, schema)
        )

    def _matches_object(self, value: dict[str, Any], schema: dict[str, Any]) -> bool:
        declared = schema.get("properties", {})
        patterns = member_patterns(self._document, schema)
        others = schema.get("additionalProperties", True)
        for name, member in value.items():
            applied = [declared[name]] if name in declared else []
            applied += [part for dfa, part in patterns if is_match(dfa, name)]
            if not all(self.matches(member, part) for part in applied or [others]):
                return False
            if not self.matches(name, schema.get("propertyNames", True)):
                return False
        return _in_range(len(value), schema, "Properties") and all(name in value for name in schema.get("required", ()))

    def _matches_array(self, value: list[Any], schema: dict[str, Any]) -> bool:
        first, others = items_of(schema)
        applied = [*first, *[others] * (len(value) - len(first))]
        is_set = not schema.get("uniqueItems") or len(set(map(canonical, value))) == len(value)
        return is_set and _in_range(len(value), schema, "Items") and all(map(self.matches, value, applied))


def items_of(schema: dict[str, Any], rest: Schema = True) -> tuple[list[Schema], Schema]:
    """The schemas of the first items and that of the others, in today's spelling or that of before 2020.

    Args:
        schema: The array's.
        rest: That of items of which it says nothing.
    """
    items = schema.get("items", rest)
    if isinstance(items, list):
        return items, schema.get("additionalItems", rest)
    return schema.get("prefixItems", []), items


def member_patterns(document: Document, schema: dict[str, Any]) -> list[tuple[Dfa, Schema]]:
    """What ``patternProperties`` says about members, by their names."""
    found = []
    for pattern, part in schema.get("patternProperties", {}).items():
        try:
            found.append((compile_pattern(pattern), part))
        except RegexError as error:
            document.unsupported(schema, "patternProperties", error.reason)
        except TooManyStatesError:
            document.unsupported(schema, "patternProperties", TOO_LARGE)
    return found


def is_match(dfa: Dfa, text: str) -> bool:
    """Whether an automaton accepts a text."""
    if dfa.is_empty:
        return False
    state = 0
    for char in text:
        code = ord(char)
        following = (target for ranges, target in dfa.edges[state] if any(low <= code <= high for low, high in ranges))
        found = next(following, None)
        if found is None:
            return False
        state = found
    return dfa.accepts[state]


def _has_type(value: Any, names: Iterable[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in names
    if keywords.is_number(value):
        return "number" in names or ("integer" in names and value == int(value))
    name = {type(None): "null", str: "string", list: "array", dict: "object"}[type(value)]
    return name in names


def _in_range(n: int, schema: dict[str, Any], what: str) -> bool:
    return bool(schema.get(f"min{what}", 0) <= n <= schema.get(f"max{what}", n))


def _matches_number(value: Fraction, schema: dict[str, Any]) -> bool:
    low, high = INTEGER_BOUNDS.get(schema.get("format", ""), (value, value))
    return (
        low <= value <= high
        and ("minimum" not in schema or value >= exact(schema["minimum"]))
        and ("maximum" not in schema or value <= exact(schema["maximum"]))
        and ("exclusiveMinimum" not in schema or value > exact(schema["exclusiveMinimum"]))
        and ("exclusiveMaximum" not in schema or value < exact(schema["exclusiveMaximum"]))
        and ("multipleOf" not in schema or (value / exact(schema["multipleOf"])).denominator == 1)
    )
