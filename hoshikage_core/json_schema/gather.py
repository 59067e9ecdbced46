"""The shapes of the values that match a place's schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import keywords
from hoshikage_core.json_schema.alternatives import Alternative, Alternatives, canonical, declared_types
from hoshikage_core.json_schema.document import REFERS_TO_ITSELF, Document
from hoshikage_core.json_schema.formats import INTEGER_BOUNDS, NUMBER_FORMATS
from hoshikage_core.json_schema.gather_members import gather_array, gather_object
from hoshikage_core.json_schema.gather_scalars import gather_number, gather_text
from hoshikage_core.json_schema.shapes import Anything, Literals, Place, Shape, key_of
from hoshikage_core.json_schema.spelling import json_text
from hoshikage_core.json_schema.values import Matcher

_ALL_TYPES = declared_types(())
_N_PLACES_MAX = 20_000


class Gatherer:
    """Finds the shapes of a document's places.

    Attributes:
        document: Where the schemas are from.
        alternatives: Their alternatives.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.alternatives = Alternatives(document)
        self._matcher = Matcher(document)
        self._known: dict[tuple[int, ...], list[Shape]] = {}
        self._gathering: set[tuple[int, ...]] = set()

    def place(self, *schemas: Any) -> Place:
        """A place where some schemas apply; one that only refers to another is that other."""
        followed: list[Any] = []
        for schema in schemas:
            n_followed = 0
            while (
                isinstance(schema, dict)
                and "$ref" in schema
                and keywords.ANNOTATIONS.issuperset(schema.keys() - {"$ref"})
            ):
                schema = self.document.resolve(schema)
                n_followed += 1
                if n_followed > 64:
                    raise self.document.malformed(schema, "$ref", REFERS_TO_ITSELF)
            if keywords.is_never(schema):
                schema = False
            if schema is not True and schema != {} and not any(schema is other for other in followed):
                followed.append(schema)
        return tuple(followed)

    def shapes(self, place: Place) -> list[Shape]:
        """The shapes of what matches all schemas of a place.

        Raises:
            JsonSchemaError: Nothing does, or a keyword cannot be enforced.
        """
        key = key_of(place)
        if key in self._gathering:
            return [Anything()]  # asked for by its own constraints: whatever it is, it is no short list
        if key not in self._known:
            if len(self._known) == _N_PLACES_MAX:
                raise self.document.malformed(self.document.root, "", Reason("schema_too_large", "is too large"))
            self._gathering.add(key)
            shapes = [shape for option in self.alternatives.of_all(place) for shape in self._shapes_of(option)]
            self._gathering.discard(key)
            if not shapes and not any(schema is False for schema in place):
                raise self.document.malformed(
                    place[0], "", Reason("contradiction", "contradicts itself: no value matches")
                )
            self._known[key] = shapes
        return self._known[key]

    def _shapes_of(self, option: Alternative) -> Iterator[Shape]:
        for schema in option:
            self.document.require_known(schema)
        values = self._values(option)
        if values is not None:
            if values:
                yield Literals(values)
            return
        types = declared_types(option)
        if types == _ALL_TYPES and not any("type" in schema for schema in option):
            types = _implied_types(option)
            if not types:
                yield Anything()
                return
        if "null" in types:
            yield Literals(("null",))
        if "boolean" in types:
            yield Literals(("true", "false"))
        if "integer" in types:
            yield from gather_number(self.document, option, is_integer="fraction" not in types)
        if "string" in types:
            yield from gather_text(self.document, option)
        if "array" in types:
            yield from gather_array(self, option)
        if "object" in types:
            yield from gather_object(self, option)

    def _values(self, option: Alternative) -> tuple[str, ...] | None:
        """The values that const and enum leave, as JSON; None when there is neither."""
        values: dict[str, Any] | None = None
        for schema in option:
            for listed in ([schema["const"]] if "const" in schema else None, schema.get("enum")):
                if listed is not None and values is None:
                    values = {}
                    for value in listed:
                        values.setdefault(canonical(value), value)
        if values is None:
            return None
        return tuple(
            json_text(value)
            for value in values.values()
            if all(self._matcher.matches_plain(value, schema) for schema in option)
        )


def _implied_types(option: Alternative) -> frozenset[str]:
    """The types that the keywords speak about, where none is declared: who says minLength means a string."""
    types = set()
    for schema in option:
        for name, spoken in keywords.OF_TYPE.items():
            if not spoken.isdisjoint(schema):
                types.add(name)
        if schema.get("format") in INTEGER_BOUNDS.keys() | NUMBER_FORMATS:
            types.discard("string")
            types.add("number")
    if "number" in types:
        types |= {"integer", "fraction"}
    return frozenset(types)
