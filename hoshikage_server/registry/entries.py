"""The models that a model map stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec

from hoshikage_server import invalid, json_faults
from hoshikage_server.engines.wire import Pooling
from hoshikage_server.errors import ModelMapError, RequestError
from hoshikage_server.messages import Sentence
from hoshikage_server.registry import map_faults, raw_map
from hoshikage_server.registry.entry import Entry, ModelEntry, Speculation
from hoshikage_server.registry.names import why_no_id
from hoshikage_server.registry.raw_map import RawEntry
from hoshikage_server.settings import KvType, SplitMode


def _words(*values: object) -> str:
    return ", ".join(f"'{value}'" for value in values)


# What may be written where one of a few words is expected; see `invalid.from_validation`.
WORDS = {
    "kv_type": _words(*get_args(KvType)),
    "gpu_layers": _words("auto", "all"),
    "split_mode": _words(*get_args(SplitMode)),
    "speculation": _words(*get_args(Speculation)),
    "pooling": _words(*get_args(Pooling)),
}
_entry = msgspec.json.Decoder(Entry)


class Parsed(NamedTuple):
    """What a model map says.

    Attributes:
        entries: The models, by id.
        refused: What is wrong with names that no model can have, of the first ones; all of them are left out.
    """

    entries: dict[str, ModelEntry]
    refused: tuple[ModelMapError, ...] = ()


class Clash(NamedTuple):
    """An alias that is the name of a model already.

    Attributes:
        model_id: Whose alias it is.
        place: Which of them.
        alias: The name.
        owner: The model of this name.
    """

    model_id: str
    place: int
    alias: str
    owner: str

    def error(self) -> RequestError:
        """The error for who wrote it."""
        return RequestError("alias_taken", param=f"aliases[{self.place}]", alias=self.alias, model=self.owner)


def parse(content: bytes, path: Path) -> Parsed:
    """The entries of a model map; an empty file has none.

    Raises:
        ModelMapError: It is no JSON, an entry has a value that cannot be used, or two models have the same name; the
            reason says which, and in which line.
    """
    content = raw_map.without_mark(content)
    found: dict[str, ModelEntry] = {}
    refused: dict[str, Sentence] = {}
    for model_id, raw in raw_map.entries(raw_map.read(content, path)).items():
        reason = why_no_id(model_id)
        if reason is not None:
            refused[model_id] = reason
            continue
        try:
            found[model_id] = read_entry(model_id, raw, path.parent)
        except RequestError as error:
            raise map_faults.of_entry(path, content, model_id, error) from error
    clash = first_clash(found)
    if clash is not None:
        raise map_faults.of_entry(path, content, clash.model_id, clash.error())
    return Parsed(found, map_faults.of_ids(path, content, refused))


def read_entry(model_id: str, raw: RawEntry, folder: Path) -> ModelEntry:
    """One entry.

    Raises:
        RequestError: A value of it cannot be used; `param` names the key.
    """
    written = msgspec.json.encode(raw)
    try:
        entry = _entry.decode(written)
    except msgspec.ValidationError as error:
        raise invalid.from_validation(str(error), written, WORDS) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("invalid_json", reason=json_faults.told(written, error)) from error
    try:
        file = folder / Path(entry.path).expanduser() / entry.model
    except RuntimeError as error:  # ~ of somebody unknown
        raise RequestError("no_such_home", param="path", path=entry.path) from error
    return ModelEntry(model_id, file, entry, folder)


def first_clash(entries: Mapping[str, ModelEntry]) -> Clash | None:
    """The first alias that is taken."""
    owners = {model_id: model_id for model_id in entries}
    for entry in entries.values():
        for index, alias in enumerate(entry.given.aliases):
            if alias in owners:
                return Clash(entry.id, index, alias, owners[alias])
            owners[alias] = entry.id
    return None


def by_name(entries: Iterable[ModelEntry]) -> dict[str, ModelEntry]:
    """Entries by all that they are called."""
    return {name: entry for entry in entries for name in (entry.id, *entry.given.aliases)}
