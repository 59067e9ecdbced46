"""model_map.json: the models people have registered, an object keyed by model id; see `entry` for what it says of each.

Keys that are not known here are kept when the file is written. A broken file is reported and never overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from hoshikage_server.errors import ModelMapError, RequestError
from hoshikage_server.messages import Sentence, said, told_by_system
from hoshikage_server.registry import raw_map
from hoshikage_server.registry.entries import by_name, first_clash, parse, read_entry
from hoshikage_server.registry.entry import UNUSED, Entry, ModelEntry
from hoshikage_server.registry.files import LOCK_TIMEOUT_S, NotRegularError, locked, read_regular, write_atomically
from hoshikage_server.registry.raw_map import RawMap

log = logging.getLogger(__name__)

_BYTES_MAX = 2 * 1024 * 1024  # tens of thousands of models, and a second to read


class ModelMap:
    """The file, read again whenever it has changed.

    While it is broken the entries of its last good state stay in use; `error` says what is wrong with it. What changes
    the file waits for others that do, and for the disk: that is not for the event loop.

    Attributes:
        path: The file.
        error: What is wrong with all of it.
        refused: What is wrong with names of single models, which are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: ModelMapError | None = None
        self.refused: tuple[ModelMapError, ...] = ()
        self._stamp: tuple[int, ...] | None = None
        self._entries: dict[str, ModelEntry] | None = None
        self._names: dict[str, ModelEntry] = {}
        self._told_stamp: tuple[int, ...] | None = None  # of the file whose error the log has
        self._told_unused: frozenset[tuple[str, str]] = frozenset()

    def entries(self) -> dict[str, ModelEntry]:
        """All models by id, as the file has them now.

        Raises:
            ModelMapError: The file is broken and there is no earlier state.
        """
        stamp = self._stamp_now()
        if self._entries is None or stamp != self._stamp:
            self._read(stamp)
            self._stamp = stamp
        if self._entries is None:
            assert self.error is not None
            raise self.error
        return self._entries

    def by_name(self) -> dict[str, ModelEntry]:
        """All models by all that they are called, aliases too.

        Raises:
            ModelMapError: As for `entries`.
        """
        self.entries()
        return self._names

    def reread(self) -> dict[str, ModelEntry]:
        """All models, read anew.

        Raises:
            ModelMapError: The file is broken, whether or not there is an earlier state.
        """
        self._stamp = None
        entries = self.entries()
        if self.error is not None:
            raise self.error
        return entries

    def find(self, name: str, param: str | None = None) -> ModelEntry:
        """One of them, for a request.

        Args:
            name: Its id, or one of its aliases.
            param: The request's field that names it, if it is to be blamed.

        Raises:
            ModelMapError: As for `entries`.
            RequestError: There is none of this name.
        """
        entry = self.by_name().get(name)
        if entry is None:
            raise RequestError("model_not_found", param=param, model=name)
        return entry

    def add(self, model_id: str, file: Path, given: Mapping[str, Any] | None = None, *, replace: bool = False) -> None:
        """Registers a model.

        Args:
            model_id: The name it is asked for by.
            file: The GGUF file, absolute.
            given: What else its entry shall say, by key.
            replace: Whether it may take the place of another of this name; keys that are not known here stay then.

        Raises:
            ModelMapError: There is a model of this name, or the map on disk is broken, locked, or cannot be written.
            RequestError: A value that is given cannot be used; `param` names the key.
        """

        def change(raw: RawMap) -> bool:
            before = raw_map.entries(raw).get(model_id)
            if before is not None and not replace:
                raise ModelMapError("model_exists", model=model_id)
            kept = {key: value for key, value in (before or {}).items() if key not in Entry.__struct_fields__}
            usual: dict[str, object] = {} if before else {"stop": []}
            raw[model_id] = raw_map.merged(kept, {**usual, **(given or {}), **_where(file)})
            return True

        self._update(model_id, change)

    def change(self, model_id: str, keys: Mapping[str, Any], file: Path | None = None) -> None:
        """Changes what an entry says.

        Args:
            model_id: The model.
            keys: A JSON merge patch (RFC 7396): None takes a key away, the members of an object go into the one that is
                there, all else replaces.
            file: Another GGUF file, absolute.

        Raises:
            ModelMapError: There is no such model, or the map on disk is broken, locked, or cannot be written.
            RequestError: A value cannot be used; `param` names the key.
        """

        def change(raw: RawMap) -> bool:
            before = raw_map.entries(raw).get(model_id)
            if before is None:
                raise ModelMapError("model_not_registered", model=model_id)
            raw[model_id] = raw_map.merged(before, {**keys, **({} if file is None else _where(file))})
            return True

        self._update(model_id, change)

    def remove(self, model_id: str) -> bool:
        """Takes a model off the list; False when it was not on it.

        Raises:
            ModelMapError: The map on disk is broken, locked, or cannot be written.
        """

        def change(raw: RawMap) -> bool:
            return model_id in raw_map.entries(raw) and raw.pop(model_id) is not None

        return self._update(model_id, change)

    def _read(self, stamp: tuple[int, ...]) -> None:
        try:
            self._entries, refused = parse(self._read_bytes(), self.path)
        except ModelMapError as error:
            self.error = error
            if stamp != self._told_stamp:
                self._told_stamp = stamp
                log.error(error)
            return
        self.error = None
        told = set(map(str, self.refused))
        for one in refused:
            if str(one) not in told:
                log.error(one)
        self.refused = refused
        self._names = by_name(self._entries.values())
        unused = {(entry.id, key) for entry in self._entries.values() for key in UNUSED if _says(entry, key)}
        for model_id, key in sorted(unused - self._told_unused):
            log.warning(said("log_unused_key", model=model_id, key=key))
        self._told_unused = frozenset(unused)

    def _update(self, model_id: str, change: Callable[[RawMap], bool]) -> bool:
        """Has an entry changed, where there is something to change; the result is checked before it is written."""
        try:
            with locked(self.path):
                content = self._read_bytes()
                entries = parse(content, self.path).entries  # refuses a broken file before anything is written
                raw = raw_map.read(content, self.path)
                if not change(raw):
                    return False
                self._check(model_id, raw, entries)
                new = raw_map.write(raw)
                parse(new, self.path)
                write_atomically(self.path, new)
        except Timeout:
            raise self._unwritable(said("map_locked", seconds=f"{LOCK_TIMEOUT_S:g}")) from None
        except UnicodeEncodeError as error:  # the name of a file may be any bytes, JSON cannot
            raise self._unwritable(said("map_no_unicode", text=ascii(error.object))) from error
        except OSError as error:
            raise self._unwritable(told_by_system(error)) from error
        return True

    def _check(self, model_id: str, raw: RawMap, before: dict[str, ModelEntry]) -> None:
        """Blames the one entry that has changed for what would be wrong with the file."""
        entry = raw_map.entries(raw).get(model_id)
        if entry is None:
            return
        others = {name: other for name, other in before.items() if name != model_id}
        owner = by_name(others.values()).get(model_id)
        if owner is not None:
            raise RequestError("alias_taken", param="id", alias=model_id, model=owner.id)
        clash = first_clash({**others, model_id: read_entry(model_id, entry, self.path.parent)})
        if clash is not None:
            raise clash.error()

    def _read_bytes(self) -> bytes:
        try:
            content = read_regular(self.path, _BYTES_MAX)
        except FileNotFoundError:
            return b""
        except NotRegularError:
            raise ModelMapError("invalid_model_map", path=self.path, reason=said("map_not_a_file")) from None
        except OSError as error:
            raise ModelMapError("invalid_model_map", path=self.path, reason=told_by_system(error)) from error
        if len(content) > _BYTES_MAX:
            raise ModelMapError("invalid_model_map", path=self.path, reason=said("map_too_large", limit=_BYTES_MAX))
        return content

    def _unwritable(self, reason: Sentence) -> ModelMapError:
        return ModelMapError("model_map_not_written", path=self.path, reason=reason)

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ()
        except OSError as error:  # there is something, which reading it will tell of
            return (error.errno or -1,)
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _where(file: Path) -> dict[str, Any]:
    return {"path": str(file.parent), "model": file.name}


def _says(entry: ModelEntry, key: str) -> bool:
    return getattr(entry.given, key) is not None
