"""What values look like: the constraints that apply to one place of a document, gathered by type."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from hoshikage_core.json_schema.automaton import Dfa
from hoshikage_core.json_schema.document import Schema
from hoshikage_core.json_schema.numbers import Interval

Place = tuple[Schema, ...]
"""Schemas that all apply to the value at one place; none allow anything."""


@dataclass(frozen=True)
class Anything:
    """Any JSON value."""


@dataclass(frozen=True)
class Literals:
    """One of some values, each as JSON text."""

    texts: tuple[str, ...]

    @property
    def values(self) -> list[Any]:
        """The values themselves."""
        return [json.loads(text) for text in self.texts]


@dataclass(frozen=True)
class Text:
    """A string: of a length, and with an automaton for what else is said about it."""

    min_length: int = 0
    max_length: int | None = None
    dfa: Dfa | None = None


@dataclass(frozen=True)
class Number:
    """A number in an interval that a divisor divides."""

    is_integer: bool
    interval: Interval = dataclasses.field(default_factory=Interval)
    divisor: Fraction | None = None


@dataclass(frozen=True)
class Member:
    """A declared member of an object."""

    name: str
    place: Place
    is_required: bool


@dataclass(frozen=True)
class Object:
    """An object: its declared members in order, then any number of others.

    Attributes:
        others: What other members hold; None when there may be none.
        keys: What the names of others are; None for any but the declared ones.
        min_members: How many there must be.
        max_members: How many there may be; None is endless.
    """

    members: tuple[Member, ...] = ()
    others: Place | None = None
    keys: Dfa | None = None
    min_members: int = 0
    max_members: int | None = None


@dataclass(frozen=True)
class Array:
    """An array: some items in their places, then any number of others.

    Attributes:
        first: What the first items are.
        others: What the others are; None when there may be none.
        min_items: How many there must be.
        max_items: How many there may be; None is endless.
        is_set: Whether no value may occur twice.
    """

    first: tuple[Place, ...] = ()
    others: Place | None = ()
    min_items: int = 0
    max_items: int | None = None
    is_set: bool = False


Shape: TypeAlias = Anything | Literals | Text | Number | Object | Array


def key_of(place: Place) -> tuple[int, ...]:
    """What tells places of one document apart."""
    return tuple(id(schema) for schema in place)
