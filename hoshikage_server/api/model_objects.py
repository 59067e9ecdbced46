"""Models as OpenAI lists them, with what this server knows of them besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.settings import Settings


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
        description: A word about it for people.
    """

    state: Literal["unloaded", "loading", "ready", "generating", "unloading", "failed"]
    n_ctx: int
    size_bytes: int | None
    arch: str | None
    quantisation: str | None
    n_params: int | None
    aliases: tuple[str, ...]
    description: str | None


class ModelObject(msgspec.Struct, frozen=True):
    """A model as OpenAI lists it; `created` is when its file was last changed (0: it is not there)."""

    id: str
    created: int
    hoshikage: ModelDetails
    object: Literal["model"] = "model"
    owned_by: str = "hoshikage"


class ModelPage(msgspec.Struct, frozen=True):
    """The list of models, in the order of model_map.json."""

    data: list[ModelObject]
    object: Literal["list"] = "list"


def describe(entries: Iterable[ModelEntry], settings: Settings, supervisor: Supervisor) -> list[ModelObject]:
    """Models as they are now."""
    engines = {engine.spec: engine for engine in supervisor.snapshot().engines}
    cooling = supervisor.cooling()
    objects = []
    for entry in entries:
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
            aliases=entry.given.aliases,
            description=entry.given.description,
        )
        objects.append(ModelObject(entry.id, spec.mtime_ns // 10**9, details))
    return objects
