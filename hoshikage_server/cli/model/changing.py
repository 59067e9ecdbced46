"""hoshikage model set: keys of an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from hoshikage_server.cli.words import command, guesses, say
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import ModelMapError, ServerError
from hoshikage_server.registry.entry import Embedding, Entry
from hoshikage_server.registry.inspection import inspect
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import load_settings

_HOLDERS: dict[str, type[msgspec.Struct]] = {"sampling": Sampling, "embedding": Embedding}


@command("set", "cli_set")
@click.argument("name")
@click.argument("changes", metavar="KEY=VALUE...", nargs=-1, required=True)
def set_keys(name: str, changes: tuple[str, ...]) -> None:
    """Changes what an entry says of its model."""
    model_map = ModelMap(load_settings().model_map)
    entry = model_map.entries().get(name)
    if entry is None:
        raise ModelMapError("model_not_registered", model=name)
    patch: dict[str, Any] = {}
    told = []
    for change in changes:
        key, value = _parse(change)
        _check(key, value)
        _put(patch, key.split("."), value)
        told.append(say("key_removed", key=key) if value is None else f"{key}={msgspec.json.encode(value).decode()}")
    if patch.keys() & {"path", "model"}:
        folder, file = (str(patch.get(key) or getattr(entry.given, key)) for key in ("path", "model"))
        inspect(entry.folder / Path(folder).expanduser() / file)
    model_map.change(name, patch)
    click.echo(say("model_changed", model=name, changes=say("comma").join(told)))


def _parse(change: str) -> tuple[str, Any]:
    """A key, and its value or None where it is to be removed."""
    key, equals, text = change.partition("=")
    if not key or not equals:
        raise ServerError("not_key_value", given=change)
    if not text:
        return key, None
    try:
        return key, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return key, text  # a word


def _check(key: str, value: Any) -> None:
    """Refuses a key that there is not; what is unknown can go, but not come."""
    first, *below = key.split(".")
    holder: type[msgspec.Struct] = Entry
    if below and first in _HOLDERS:
        holder, first = _HOLDERS[first], ".".join(below)
    if first not in holder.__struct_fields__ and value is not None:
        known = sorted(holder.__struct_fields__)
        raise ServerError("unknown_key", key=key, guesses=guesses(first, known), keys=", ".join(known))


def _put(patch: dict[str, Any], path: list[str], value: Any) -> None:
    """Adds a change to a JSON merge patch."""
    *above, last = path
    for key in above:
        patch = patch.setdefault(key, {})
    patch[last] = value
