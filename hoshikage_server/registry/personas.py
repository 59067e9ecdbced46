"""The personas there are: those that come with Hoshikage, and a folder of TOML files, one for each of a person's own.

A file of the same name wins over a built-in persona. A broken file is reported, and overwritten only by who says so;
until it is mended, what it said before stays in use, or else the built-in persona.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout

from hoshikage_server.errors import PersonaError, RequestError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.registry import persona as files
from hoshikage_server.registry.files import LOCK_TIMEOUT_S, locked, write_atomically
from hoshikage_server.registry.persona import Persona, checked_id, unusable
from hoshikage_server.settings import Settings

log = logging.getLogger(__name__)

BUILTIN = Path(__file__).resolve().parent.parent / "personas"
PERSONAS_MAX = 1000
_SUFFIX = ".toml"

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A persona and where it is.

    Attributes:
        id: Its name.
        persona: What it says.
        file: Its file.
        is_builtin: Whether it came with Hoshikage.
    """

    id: str
    persona: Persona
    file: Path
    is_builtin: bool


def folder_of(settings: Settings) -> Path:
    """Where a person's own are."""
    return settings.config_dir / "personas"


@dataclass
class _File:
    """What is known of a file: as it was when it was read last, and what was wrong with it then."""

    stamp: Stamp
    stored: Stored | None
    error: PersonaError | None


@dataclass
class _Folder:
    """The files of a folder, read again when they have changed."""

    path: Path
    is_builtin: bool
    files: dict[str, _File] = field(default_factory=dict)
    error: PersonaError | None = None

    def refresh(self) -> None:
        """Reads what has changed."""
        try:
            with os.scandir(self.path) as entries:
                found = {entry.name: entry for entry in entries if _is_persona(entry.name)}
        except FileNotFoundError:
            found = {}
        except OSError as error:
            self._fail(unusable(self.path, told_by_system(error)))
            return
        self.error = None
        for name in self.files.keys() - found.keys():
            del self.files[name]
        for name in sorted(found):
            self._look(name, found[name])

    def by_id(self) -> dict[str, Stored]:
        """The personas, by id."""
        return {file.stored.id: file.stored for _, file in sorted(self.files.items()) if file.stored is not None}

    def _look(self, name: str, entry: os.DirEntry[str]) -> None:
        known = self.files.get(name)
        try:
            found = entry.stat()
        except OSError as error:  # a link that leads nowhere
            found, failure = None, unusable(self.path / name, told_by_system(error))
        now = _stamp(found)
        if known is not None and known.stamp == now:
            return
        before = known.stored if known is not None else None
        try:
            if found is None:
                raise failure
            self.files[name] = _File(now, self._read(name, found), None)
        except PersonaError as error:
            self.files[name] = _File(now, before, error)
            log.error(error)

    def _read(self, name: str, found: os.stat_result) -> Stored:
        path = self.path / name
        if not stat.S_ISREG(found.st_mode):  # opening another might wait for ever
            raise unusable(path, said("persona_no_file"))
        try:
            persona_id = checked_id(name.removesuffix(_SUFFIX))
        except RequestError as error:
            raise unusable(path, error) from None
        return Stored(persona_id, files.from_toml(read_file(path), path), path, self.is_builtin)

    def _fail(self, error: PersonaError) -> None:
        if str(error) != str(self.error):
            log.error(error)
        self.error = error


class Personas:
    """All personas.

    Args:
        folder: Where a person's own are; it need not exist.
        builtin: Where those are that came with Hoshikage.
    """

    def __init__(self, folder: Path, builtin: Path = BUILTIN) -> None:
        self.folder = folder
        self._builtin = _Folder(builtin, is_builtin=True)
        self._builtin.refresh()
        self._own = _Folder(folder, is_builtin=False)

    @property
    def errors(self) -> tuple[PersonaError, ...]:
        """What is wrong with files, as of now."""
        self._own.refresh()
        found = (self._own.error, *(file.error for _, file in sorted(self._own.files.items())))
        return tuple(error for error in found if error is not None)

    @property
    def builtin(self) -> Mapping[str, Stored]:
        """Those that came with Hoshikage, also where a person's own is used in place of one."""
        return self._builtin.by_id()

    def all(self) -> dict[str, Stored]:
        """All by id, as the files say now: the built-in ones first."""
        self._own.refresh()
        return {**self._builtin.by_id(), **self._own.by_id()}

    def get(self, persona_id: str) -> Stored | None:
        """One of them; None if there is none of this name.

        Raises:
            PersonaError: There is a file of this name, which never could be read, and nothing else.
        """
        found = self.all().get(persona_id)
        file = self._own.files.get(f"{persona_id}{_SUFFIX}")
        if found is None and file is not None and file.error is not None:
            raise file.error
        return found

    def find(self, persona_id: str) -> Stored:
        """One of them; raises as `get` does.

        Raises:
            RequestError: There is none of this name.
        """
        found = self.get(persona_id)
        if found is None:
            raise RequestError("persona_not_found", param="id", persona=persona_id)
        return found

    def file_of(self, persona_id: str) -> Path:
        """The file of a person's own persona, there or not.

        Raises:
            RequestError: The id cannot be one.
        """
        return self.folder / f"{checked_id(persona_id)}{_SUFFIX}"

    def save(self, persona_id: str, persona: Persona, *, replace: bool) -> None:
        """Writes a person's own persona. May wait for a disk, and for another process.

        Args:
            persona_id: Its id.
            persona: What it says.
            replace: Whether there may be one already.

        Raises:
            RequestError: The id cannot be one, there is one already, or there are too many.
            PersonaError: It could not be written.
        """
        self.save_bytes(persona_id, files.to_toml(persona), replace=replace)

    def save_bytes(self, persona_id: str, content: bytes, *, replace: bool) -> None:
        """The same with the content of a file, as a person wrote it."""
        path = self.file_of(persona_id)
        with self._locked(path):
            if not path.exists():
                if persona_id in self.builtin and not replace:
                    raise RequestError("persona_exists", param="id", persona=persona_id)
                if sum(map(_is_persona, os.listdir(self.folder))) >= PERSONAS_MAX:
                    raise RequestError("too_many_personas", limit=PERSONAS_MAX)
            elif not replace:
                raise RequestError("persona_exists", param="id", persona=persona_id)
            write_atomically(path, content)

    def remove(self, persona_id: str) -> None:
        """Deletes a person's own persona. May wait, as `save` does.

        Raises:
            RequestError: There is none of this name, or it is built in.
            PersonaError: It could not be deleted.
        """
        path = self.file_of(persona_id)
        with self._locked(path):
            if not os.path.lexists(path):
                code = "persona_builtin" if persona_id in self.builtin else "persona_not_found"
                raise RequestError(code, param="id", persona=persona_id)
            path.unlink()

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            with locked(self.folder):
                self.folder.mkdir(exist_ok=True)
                yield
        except Timeout:
            reason = said("map_locked", seconds=f"{LOCK_TIMEOUT_S:g}")
            raise PersonaError("persona_not_written", path=path, reason=reason) from None
        except OSError as error:
            raise PersonaError("persona_not_written", path=path, reason=told_by_system(error)) from error


def read_file(path: Path) -> bytes:
    """The content of a persona's file, or as much of it as shows that it is too large.

    Raises:
        PersonaError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(files.FILE_BYTES_MAX + 1)
    except OSError as error:
        raise unusable(path, told_by_system(error)) from error


def _stamp(found: os.stat_result | None) -> Stamp:
    return () if found is None else (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _is_persona(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith(".")
