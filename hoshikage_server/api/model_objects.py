"""Models as OpenAI lists them, with what this server knows of them besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.registry.catalog import Served
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.persona import in_language
from hoshikage_server.settings import Settings


class PersonaDetails(msgspec.Struct, frozen=True):
    """What a persona among the models is.

    Attributes:
        model: The registered model that it runs on.
        name: Its name for people, in the request's language, like the next.
        description: A word about it; null where there is none.
    """

    model: str
    name: str
    description: str | None


class ModelDetails(msgspec.Struct, frozen=True):
    """What OpenAI's objects have no place for.

    Attributes:
        state: `failed` while it is left alone because it could not be loaded, or died too often.
        n_ctx: Tokens of context: of its engine, or of the one it would get.
        size_bytes: Of its file; null when that is not there.
        arch: As the file names it; null, like the others below, until it has been loaded once.
        quantisation: Of most of its weights.
        n_params: Weights.
        persona: What it is, where it is a persona; the others are its model's.
    """

    state: Literal["unloaded", "loading", "ready", "generating", "unloading", "failed"]
    n_ctx: int
    size_bytes: int | None
    arch: str | None
    quantisation: str | None
    n_params: int | None
    persona: PersonaDetails | None = None


class ModelObject(msgspec.Struct, frozen=True):
    """A model as OpenAI lists it; `created` is when its file was last changed (0: it is not there)."""

    id: str
    created: int
    hoshikage: ModelDetails
    object: Literal["model"] = "model"
    owned_by: str = "hoshikage"


class ModelPage(msgspec.Struct, frozen=True):
    """The list of models, in the order of model_map.json, and behind them the personas that can be used."""

    data: list[ModelObject]
    object: Literal["list"] = "list"


def describe(entries: Iterable[ModelEntry], settings: Settings, supervisor: Supervisor) -> list[ModelObject]:
    """Models as they are now."""
    return describe_served([Served(entry.id, entry) for entry in entries], settings, supervisor, "en")


def describe_served(
    found: Iterable[Served], settings: Settings, supervisor: Supervisor, language: str
) -> list[ModelObject]:
    """Models and personas as they are now."""
    engines = {engine.spec: engine for engine in supervisor.snapshot().engines}
    cooling = supervisor.cooling()
    objects = []
    for served in found:
        entry = served.entry
        spec = spec_of(entry, settings)
        engine = engines.get(spec)
        info = supervisor.info_of(spec)
        details = ModelDetails(
            state=engine.state if engine else "failed" if entry.id in cooling else "unloaded",
            n_ctx=engine.ready.n_ctx if engine and engine.ready else spec.n_ctx,
            size_bytes=spec.size_bytes or None,
            arch=info.get("arch"),
            quantisation=info.get("quantisation"),
            n_params=info.get("n_params"),
            persona=_persona_details(served, language),
        )
        objects.append(ModelObject(served.id, spec.mtime_ns // 10**9, details))
    return objects


def _persona_details(served: Served, language: str) -> PersonaDetails | None:
    persona = served.persona
    if persona is None:
        return None
    name, description = in_language(persona.name, language), in_language(persona.description, language)
    return PersonaDetails(served.entry.id, name, description or None)
