"""model_map.json: the models people have registered, an object keyed by model id; see `entry` for what it says of each.

Keys that are not known here are kept when the file is written. A broken file is reported and never overwritten.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from hoshikage_server.errors import ModelMapError, RequestError
from hoshikage_server.registry.entry import Entry, ModelEntry

log = logging.getLogger(__name__)

_LOCK_TIMEOUT_S = 10.0
_PERMISSIONS = 0o644  # of a new file

RawMap = dict[str, dict[str, Any]]


class ModelMap:
    """The file, read again whenever it has changed.

    While it is broken the entries of its last good state stay in use; `error` says what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: ModelMapError | None = None
        self._stamp: tuple[int, ...] | None = None
        self._entries: dict[str, ModelEntry] | None = None

    def entries(self) -> dict[str, ModelEntry]:
        """All models by id, as the file has them now.

        Raises:
            ModelMapError: The file is broken and there is no earlier state.
        """
        stamp = self._stamp_now()
        if self._entries is None or stamp != self._stamp:
            has_changed, self._stamp = stamp != self._stamp, stamp
            try:
                self._entries = parse(self._read_bytes(), self.path)
                self.error = None
            except ModelMapError as error:
                self.error = error
                if has_changed:
                    log.error(error)
        if self._entries is None:
            assert self.error is not None
            raise self.error
        return self._entries

    def find(self, model_id: str, param: str | None = None) -> ModelEntry:
        """One of them, for a request.

        Args:
            model_id: Its name.
            param: The request's field that names it, if it is to be blamed.

        Raises:
            ModelMapError: As for `entries`.
            RequestError: There is none of this name.
        """
        entry = self.entries().get(model_id)
        if entry is None:
            raise RequestError("model_not_found", param=param, model=model_id)
        return entry

    def add(self, model_id: str, file: Path, given: Mapping[str, Any] = {}, *, replace: bool = False) -> None:
        """Registers a model, or points an existing entry to another file.

        Args:
            model_id: The name it is asked for by.
            file: The GGUF file.
            given: What else it says.
            replace: Whether what an existing entry says of its model (stop, sampling, ...) goes with its old file.

        Raises:
            ModelMapError: The map on disk is broken, locked, or cannot be written.
        """

        def change(raw: RawMap) -> None:
            entry = raw.get(model_id, {"stop": []})
            if replace:
                entry = {key: value for key, value in entry.items() if key not in Entry.__struct_fields__}
            raw[model_id] = {**entry, **given, "path": str(file.parent), "model": file.name}

        self._update(change)

    def change(self, model_id: str, keys: Mapping[str, Any]) -> None:
        """Changes an entry's keys; None deletes one (stand-in)."""

        def change(raw: RawMap) -> None:
            raw[model_id] = _merged(raw[model_id], keys)
            _parse_entry(model_id, msgspec.Raw(msgspec.json.encode(raw[model_id])), self.path)

        self._update(change)

    def remove(self, model_id: str) -> bool:
        """Takes a model off the list; False when it was not on it.

        Raises:
            ModelMapError: The map on disk is broken, locked, or cannot be written.
        """
        if model_id not in parse(self._read_bytes(), self.path):
            return False
        self._update(lambda raw: raw.pop(model_id, None))
        return True

    def _update(self, change: Callable[[RawMap], object]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=_LOCK_TIMEOUT_S):
                content = self._read_bytes()
                parse(content, self.path)  # refuses a broken file before anything is written
                raw: RawMap = msgspec.json.decode(content, type=RawMap) if content.strip() else {}
                change(raw)
                _write_atomically(self.path, msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n")
        except Timeout:
            raise self._unwritable(f"locked by another process for {_LOCK_TIMEOUT_S:g} s") from None
        except UnicodeEncodeError as error:  # the name of a file may be any bytes, JSON cannot
            raise self._unwritable(str(error)) from error
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _read_bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error

    def _failure(self, reason: str) -> ModelMapError:
        return ModelMapError("invalid_model_map", path=self.path, reason=reason)

    def _unwritable(self, reason: str) -> ModelMapError:
        return ModelMapError("model_map_not_written", path=self.path, reason=reason)

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return new
    merged = {**(old if isinstance(old, dict) else {})}
    for key, value in new.items():
        merged[key] = _merged(merged.get(key), value)
    return {key: value for key, value in merged.items() if value is not None}


def parse(content: bytes, path: Path) -> dict[str, ModelEntry]:
    """The entries of a model map; an empty file has none.

    Raises:
        ModelMapError: It is no JSON, or an entry lacks what it needs; the reason says which.
    """
    if not content.strip():
        return {}
    try:
        entries = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelMapError("invalid_model_map", path=path, reason=str(error)) from error
    return {model_id: _parse_entry(model_id, raw, path) for model_id, raw in entries.items()}


def _parse_entry(model_id: str, raw: msgspec.Raw, path: Path) -> ModelEntry:
    try:
        entry = msgspec.json.decode(raw, type=Entry)
        file = path.parent / Path(entry.path).expanduser() / entry.model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RuntimeError, ValueError) as error:
        raise ModelMapError("invalid_model_map", path=path, reason=f"{model_id}: {error}") from error
    return ModelEntry(model_id, file, entry, path.parent)


def _write_atomically(path: Path, content: bytes) -> None:
    target = path.resolve()  # a link stays a link
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _permissions(target))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _permissions(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _PERMISSIONS
