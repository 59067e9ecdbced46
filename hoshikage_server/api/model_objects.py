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
        name: Its name for people, in the request's language.
    """

    model: str
    name: str


class MeasuredMemory(msgspec.Struct, frozen=True):
    """The most that a model's engine was seen to take.

    Attributes:
        private_bytes: RAM, without the pages of the mapped file and other conversations.
        vram_bytes: On all GPUs; null without one, and where the driver does not tell.
    """

    private_bytes: int
    vram_bytes: int | None


class ModelDetails(msgspec.Struct, frozen=True):
    """What OpenAI's objects have no place for.

    Attributes:
        state: `failed` while it is left alone because it could not be loaded, or died too often.
        n_ctx: Tokens of context: of its engine, or of the one it would get.
        size_bytes: Of its file; null when that is not there.
        arch: As the file names it; null, like the others below, until it has been loaded once.
        quantisation: Of most of its weights.
        n_params: Weights.
        aliases: Further names that it is asked for by.
        description: A word about it for people; a persona's in the request's language.
        persona: What it is, where it is a persona; what is not about that is its model's.
        measured: What its engine took when it was loaded with these settings; null until then.
    """

    state: Literal["unloaded", "loading", "ready", "generating", "unloading", "failed"]
    n_ctx: int
    size_bytes: int | None
    arch: str | None
    quantisation: str | None
    n_params: int | None
    aliases: tuple[str, ...]
    description: str | None
    persona: PersonaDetails | None
    measured: MeasuredMemory | None = None


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
        peak = supervisor.peak_of(spec)
        details = ModelDetails(
            state=engine.state if engine else "failed" if entry.id in cooling else "unloaded",
            n_ctx=engine.ready.n_ctx if engine and engine.ready else spec.n_ctx,
            size_bytes=spec.size_bytes or None,
            arch=info.get("arch"),
            quantisation=info.get("quantisation"),
            n_params=info.get("n_params"),
            aliases=() if served.persona else entry.given.aliases,
            description=_description(served, language),
            persona=_persona_details(served, language),
            measured=None if peak is None else MeasuredMemory(peak.private_bytes, peak.vram_bytes),
        )
        objects.append(ModelObject(served.id, spec.mtime_ns // 10**9, details))
    return objects


def _persona_details(served: Served, language: str) -> PersonaDetails | None:
    if served.persona is None:
        return None
    return PersonaDetails(served.entry.id, in_language(served.persona.name, language))


def _description(served: Served, language: str) -> str | None:
    if served.persona is None:
        return served.entry.given.description
    return in_language(served.persona.description, language) or None
