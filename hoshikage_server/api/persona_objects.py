"""Personas in the API: what is told of one, and what is taken. The fields are those of a file: registry/persona."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.registry.persona import WORDS, Persona
from hoshikage_server.registry.personas import Stored

Kind = Literal["hoshikage.persona"]


class PersonaObject(Persona, frozen=True, kw_only=True, omit_defaults=True):
    """A persona.

    Attributes:
        id: What it is asked for by, as `model` of a chat or behind the @ of "model@persona".
        builtin: Whether it came with Hoshikage.
        usable: Whether there is a model for it.
        runs_on: That model; null without one.
    """

    id: str
    object: str
    builtin: bool
    usable: bool
    runs_on: str | None


class PersonaBody(Persona, frozen=True, kw_only=True, omit_defaults=True):
    """A persona to be kept. Fields that are only told are taken as well, and say nothing."""

    id: str | None = None
    object: Any = None
    builtin: Any = None
    usable: Any = None
    runs_on: Any = None

    def persona(self) -> Persona:
        """What is kept."""
        return Persona(**{name: getattr(self, name) for name in Persona.__struct_fields__})


class PersonaPage(msgspec.Struct, frozen=True):
    """All personas, and what is wrong with files in their folder, each a sentence."""

    data: list[PersonaObject]
    errors: list[str]
    object: Literal["list"] = "list"


class PersonaDeleted(msgspec.Struct, frozen=True):
    """A persona is deleted. Where it stood in place of a built-in one, that is back: `restored`."""

    id: str
    restored: bool
    object: Kind = "hoshikage.persona"
    deleted: bool = True


BODY_WORDS = {**WORDS, "": f"id, {WORDS['']}"}


def told(stored: Stored, catalog: Catalog) -> PersonaObject:
    """A persona as it is told."""
    entry = catalog.model_of(stored.persona)
    fields = {name: getattr(stored.persona, name) for name in Persona.__struct_fields__}
    return PersonaObject(
        **fields,
        id=stored.id,
        object="hoshikage.persona",
        builtin=stored.is_builtin,
        usable=entry is not None,
        runs_on=None if entry is None else entry.id,
    )
