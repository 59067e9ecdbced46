"""The schema that llama.cpp gets: as much of the structure as its converter holds to, and sealed rules for the rest.

llama.cpp's tool formats look into a schema: for the names of a tool's arguments, for what may be a string, some for
nested objects. So objects, arrays and choices stay visible where the converter's rules for them are right.
"""

from __future__ import annotations

import json
from typing import Any

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema.emit import Emitter
from hoshikage_core.json_schema.finite import Finite
from hoshikage_core.json_schema.gather import Gatherer
from hoshikage_core.json_schema.numbers import Interval
from hoshikage_core.json_schema.seal import Kind, seal
from hoshikage_core.json_schema.shapes import Anything, Array, Literals, Number, Object, Place, Shape, Text, key_of
from hoshikage_core.json_schema.spelling import is_raw

_N_VISIBLE_MAX = 1_000
_N_OPTIONAL_MAX = 60  # the converter's time grows with the cube
_N_ITEMS_MAX = 500
_N_CHARS_MAX = 8_000_000


class Carrier:
    """Writes schemas that carry the shapes of a document's places."""

    def __init__(self, gatherer: Gatherer, finite: Finite, emitter: Emitter) -> None:
        self._gatherer = gatherer
        self._finite = finite
        self._emitter = emitter
        self._open: list[tuple[int, ...]] = []
        self._n_visible = 0
        self._n_chars = 0
        self._known: dict[int, tuple[Shape, dict[str, Any]]] = {}

    def place(self, place: Place) -> dict[str, Any]:
        """A schema for a place."""
        self._n_visible += 1
        key = key_of(place)
        hides = key in self._open or len(self._open) > 24 or self._n_visible > _N_VISIBLE_MAX
        self._open.append(key)
        options: list[dict[str, Any]] = []
        for shape in self._gatherer.shapes(place):
            if self._finite.shape(shape):
                schema = self._sealed(shape) if hides else self._visible(shape) or self._sealed(shape)
                options += schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        self._open.pop()
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _visible(self, shape: Shape) -> dict[str, Any] | None:
        """A schema of which the converter makes the right rule; None where there is no such."""
        if isinstance(shape, Anything):
            return {}
        if isinstance(shape, Literals) and shape.texts == ("null",):
            return {"type": "null"}
        if isinstance(shape, Literals) and set(shape.texts) == {"true", "false"}:
            return {"type": "boolean"}
        if shape == Text():
            return {"type": "string"}
        if isinstance(shape, Number) and shape.interval == Interval() and shape.divisor is None:
            return {"type": "integer" if shape.is_integer else "number"}
        if isinstance(shape, Object):
            return self._visible_object(shape)
        if isinstance(shape, Array):
            return self._visible_array(shape)
        return None

    def _visible_object(self, shape: Object) -> dict[str, Any] | None:
        members = [member for member in shape.members if self._finite.place(member.place)]
        n_optional = sum(not member.is_required for member in members)
        # The converter takes a property of the name "*" for any property, and one of the name "" for the root.
        is_known = all(member.name not in ("*", "") and is_raw(member.name) for member in members)
        is_known = is_known and n_optional <= _N_OPTIONAL_MAX
        if shape.others is not None or shape.min_members or shape.max_members is not None or not is_known:
            return None
        return {
            "type": "object",
            "properties": {member.name: self.place(member.place) for member in members},
            "required": [member.name for member in members if member.is_required],
            "additionalProperties": False,
        }

    def _visible_array(self, shape: Array) -> dict[str, Any] | None:
        high = shape.max_items
        has_others = shape.others is not None and self._finite.place(shape.others)
        if shape.first or shape.is_set or not has_others or max(shape.min_items, high or 1) > _N_ITEMS_MAX or high == 0:
            return None
        assert shape.others is not None
        counts = {"minItems": shape.min_items} | ({} if high is None else {"maxItems": high})
        return {"type": "array", "items": self.place(shape.others), **counts}

    def _sealed(self, shape: Shape) -> dict[str, Any]:
        if isinstance(shape, Anything):
            return {}
        if isinstance(shape, Literals):
            return self._sealed_literals(shape)
        kinds: dict[type, Kind] = {Text: "string", Number: "number", Object: "object", Array: "array"}
        return self._seal(kinds[type(shape)], shape)

    def _sealed_literals(self, shape: Literals) -> dict[str, Any]:
        """One seal for each type: llama.cpp asks which there are."""
        by_kind: dict[Kind | None, list[str]] = {}
        for text, value in zip(shape.texts, shape.values, strict=True):
            by_kind.setdefault(_kind(value), []).append(text)
        options: list[dict[str, Any]] = []
        for kind, texts in by_kind.items():
            if kind is None:
                options += [{"const": json.loads(text)} for text in texts]
            else:
                sealed = self._seal(kind, Literals(tuple(texts)))
                options += sealed.get("anyOf", [sealed])
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _seal(self, kind: Kind, shape: Shape) -> dict[str, Any]:
        if id(shape) not in self._known:
            name = self._emitter.shape(shape)
            self._emitter.finish()
            self._known[id(shape)] = shape, seal(kind, name, self._emitter.rules.bodies)
        sealed = self._known[id(shape)][1]
        self._n_chars += len(str(sealed))
        if self._n_chars > _N_CHARS_MAX:
            document = self._gatherer.document
            raise document.malformed(document.root, "", Reason("schema_too_large", "is too large"))
        return sealed


def _kind(value: Any) -> Kind | None:
    """The kind of a value; None for null, true and false, which cannot be mistaken for a seal."""
    if value is None or isinstance(value, bool):
        return None
    kinds: dict[type, Kind] = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return kinds[type(value)]
