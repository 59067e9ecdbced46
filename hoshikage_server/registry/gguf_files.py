"""A GGUF file as a model, without an entry in the model map."""

from __future__ import annotations

from pathlib import Path

from hoshikage_server.errors import ModelMapError, ServerError
from hoshikage_server.registry.catalog import Catalog, Served
from hoshikage_server.registry.entry import Entry, ModelEntry
from hoshikage_server.registry.model_map import ModelMap


def find(models: ModelMap, name: str) -> ModelEntry:
    """A registered model, or else the one in a file.

    Raises:
        ModelMapError: The map cannot be read, or there is no model of this name.
        ServerError: There is no such file.
    """
    entry = models.by_name().get(name)
    if entry is not None:
        return entry
    if not is_file_name(name):
        raise ModelMapError("model_not_registered", model=name)
    file = Path(name).expanduser().absolute()
    if not file.is_file():
        raise ServerError("file_not_found", path=file)
    return ModelEntry(name, file, Entry(path=str(file.parent), model=file.name), file.parent)


def find_served(catalog: Catalog, name: str) -> Served:
    """What a name stands for: all that a request may name, and files, also with a persona ("FILE@persona").

    Raises:
        ServerError: There is nothing of this name, or it cannot be used.
    """
    if catalog.knows(name):
        return catalog.find(name)
    if is_file_name(name):
        return Served(name, find(catalog.models, name))
    file, _, persona_id = name.rpartition("@")
    if is_file_name(file):
        return Served(name, find(catalog.models, file), catalog.personas.find(persona_id).persona)
    return catalog.find(name)


def is_file_name(name: str) -> bool:
    """Whether a name that is no model's is meant to be a file's."""
    try:
        return name.endswith(".gguf") or ("/" in name and Path(name).expanduser().is_file())
    except (OSError, RuntimeError, ValueError):  # ~ of somebody unknown, a name that is too long or holds a zero byte
        return False
