"""From shapes to GBNF rules."""

from __future__ import annotations

import json

from hoshikage_core.json_schema.alternatives import canonical
from hoshikage_core.json_schema.chains import COMMA, Members, Part, items
from hoshikage_core.json_schema.finite import Finite
from hoshikage_core.json_schema.gather import Gatherer
from hoshikage_core.json_schema.gather_members import set_values
from hoshikage_core.json_schema.numbers import ANY_NUMBER, number_rule
from hoshikage_core.json_schema.rules import NAME_MARK, Rules, digest, literal
from hoshikage_core.json_schema.shapes import (
    Anything,
    Array,
    Literals,
    Number,
    Object,
    Place,
    Shape,
    Text,
    key_of,
)
from hoshikage_core.json_schema.spelling import STRING_CHAR, json_text, string_rule
from hoshikage_core.json_schema.tries import trie

_QUOTE = literal('"')
_ANY = NAME_MARK + "any"


class Emitter:
    """Writes the rules of a document's places, each under a name that only this document gives.

    Attributes:
        rules: The rules so far. Those of places are all there once ``finish()`` was called.
    """

    def __init__(self, gatherer: Gatherer, finite: Finite) -> None:
        self.rules = Rules()
        self._gatherer = gatherer
        self._finite = finite
        document = gatherer.document
        self._prefix = NAME_MARK + digest(f"{document.is_strict} {document.text}")
        self._names: dict[tuple[int, ...], str] = {}
        self._queue: list[Place] = []

    def shape(self, shape: Shape) -> str:
        """The name of a rule for a shape."""
        if isinstance(shape, Anything):
            return self._anything()
        if isinstance(shape, Literals):
            return self.rules.add(trie(self.rules, dict.fromkeys(shape.texts, "")))
        if isinstance(shape, Text):
            return self._text(shape)
        if isinstance(shape, Number):
            rule = number_rule(self.rules, shape.interval, shape.divisor, is_integer=shape.is_integer)
            assert rule is not None, "gather_number yields what has values"
            return rule
        return self.rules.add(self._object(shape) if isinstance(shape, Object) else self._array(shape))

    def finish(self) -> None:
        """Writes the rules of all places that others refer to."""
        while self._queue:
            place = self._queue.pop()
            shapes = [shape for shape in self._gatherer.shapes(place) if self._finite.shape(shape)]
            names = dict.fromkeys(self.shape(shape) for shape in shapes)
            self.rules.bodies[self._names[key_of(place)]] = " | ".join(names)

    def _place(self, place: Place) -> str:
        """The name of a rule for a place; the rule itself follows in ``finish()``."""
        key = key_of(place)
        if key not in self._names:
            self._names[key] = f"{self._prefix}-p{len(self._names)}"
            self._queue.append(place)
        return self._names[key]

    def _anything(self) -> str:
        string = self.rules.add(f"{_QUOTE} {self.rules.add(STRING_CHAR)}* {_QUOTE}")
        member = f'{string} space ":" space {_ANY}'
        self.rules.bodies[_ANY] = (
            f'{string} | {self.rules.add(ANY_NUMBER)} | "true" | "false" | "null"'
            f' | "{{" space ({member} ({COMMA} {member})*)? space "}}"'
            f' | "[" space ({_ANY} ({COMMA} {_ANY})*)? space "]"'
        )
        return _ANY

    def _text(self, shape: Text) -> str:
        if shape.dfa is not None:
            return string_rule(self.rules, shape.dfa)
        char = self.rules.add(STRING_CHAR)
        return self.rules.add(f"{_QUOTE} {self.rules.times(char, shape.min_length, shape.max_length)} {_QUOTE}")

    def _object(self, shape: Object) -> str:
        members = [member for member in shape.members if self._finite.place(member.place)]
        others = shape.others if shape.others is not None and self._finite.place(shape.others) else None
        other = ""
        if others is not None:
            key = self._text(Text(dfa=shape.keys))
            other = self.rules.add(f'{key} space ":" space {self._place(others)}')
        parts = [
            Part(json_text(member.name), f'space ":" space {self._place(member.place)}', member.is_required)
            for member in members
        ]
        chain = Members(self.rules, parts, other, shape.min_members, shape.max_members)
        return f'"{{" space {chain.rule()} space "}}"'

    def _array(self, shape: Array) -> str:
        high = shape.max_items
        first: list[tuple[str, bool]] = []
        for place in shape.first if high is None else shape.first[:high]:
            if not self._finite.place(place):
                high = len(first)
                break
            first.append((self._place(place), len(first) < shape.min_items))
        has_others = (
            shape.others is not None and self._finite.place(shape.others) and (high is None or high > len(first))
        )
        if has_others and shape.is_set and shape.others is not None:
            values = set_values(self._gatherer, shape.others) or ()
            parts = [Part(text) for text in {canonical(json.loads(text)): text for text in values}.values()]
            return f'"[" space {Members(self.rules, parts, "", shape.min_items, high).rule()} space "]"'
        other = self._place(shape.others) if has_others and shape.others is not None else ""
        low = shape.min_items if shape.min_items > len(first) else 0
        return f'"[" space {items(self.rules, first, other, low, high)} space "]"'
