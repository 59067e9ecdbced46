"""Finding models in folders that are not registered yet, and saying of every other GGUF file why it is none."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoshikage_server.errors import ServerError
from hoshikage_server.messages import Sentence, said, told_by_system
from hoshikage_server.registry.entries import by_name
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.entry_files import placed
from hoshikage_server.registry.folders import is_inside
from hoshikage_server.registry.gguf_header import read_header
from hoshikage_server.registry.kinds import why_no_model
from hoshikage_server.registry.names import MAX_LENGTH
from hoshikage_server.registry.parts import Part, all_parts, part_of

_SUFFIX = ".gguf"
_UNUSUAL = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True)
class Found:
    """A model that could be registered.

    Attributes:
        id: A name for it: that of its file, or its path within the folder where that alone is taken.
        file: Its file, the first one of a model in several.
        n_files: How many it has.
        size_bytes: Of all of them.
    """

    id: str
    file: Path
    n_files: int
    size_bytes: int


@dataclass(frozen=True)
class Skipped:
    """A file or folder that holds no model.

    Attributes:
        path: It.
        code: Why, for programs.
        reason: The same for people.
    """

    path: Path
    code: str
    reason: Sentence


@dataclass
class Scan:
    """What there was. Registered models are in neither list."""

    found: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def scan(folders: Sequence[Path], entries: Mapping[str, ModelEntry]) -> Scan:
    """Looks through folders. Reads the header of each new file: not for the event loop.

    Args:
        folders: Where to look, with all that is below.
        entries: The registered models.
    """
    result = Scan()
    known = {os.path.realpath(part) for entry in entries.values() for part in all_parts(entry.file)}
    adapters = (placed(lora.path, entry.folder) for entry in entries.values() for lora in entry.given.lora)
    known |= {os.path.realpath(adapter) for adapter in adapters}
    new: list[tuple[Path, Path, tuple[Path, ...]]] = []
    for folder in folders:
        for file in _files(folder, result):
            true = os.path.realpath(file)
            if true not in known:
                known.add(true)
                if parts := _looked_at(file, folder, result):
                    new.append((folder, file, parts))
    ids = _ids([(folder, file) for folder, file, _ in new], entries)
    for model_id, (_, file, parts) in zip(ids, new, strict=True):
        result.found.append(Found(model_id, file, len(parts), _size_bytes(parts)))
    return result


def _files(top: Path, result: Scan) -> Iterator[Path]:
    """All GGUF files below a folder, in the order of their names; each folder once, however many links lead to it."""
    seen: set[str] = set()

    def tell(error: OSError) -> None:
        path = Path(str(error.filename))
        result.skipped.append(_skipped(path, "file_unreadable", reason=told_by_system(error)))

    if not top.is_dir():
        result.skipped.append(_skipped(top, "scan_no_folder"))
        return
    for folder, names, files in os.walk(top, onerror=tell, followlinks=True):
        if os.path.realpath(folder) in seen:
            names.clear()
            continue
        seen.add(os.path.realpath(folder))
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIX) and not name.startswith("."):
                yield Path(folder, name)


def _looked_at(file: Path, folder: Path, result: Scan) -> tuple[Path, ...]:
    """The files of a model, if it is one; nothing for the other parts of one."""
    part = part_of(file.name)
    if part is not None and not _is_first_there(file, part):
        return ()
    parts = all_parts(file)
    missing = [other.name for other in parts if not other.exists()]
    refused: Skipped | None = None
    if not _is_unicode(file):
        refused = Skipped(file, "scan_no_unicode", said("map_no_unicode", text=ascii(str(file))))
    elif missing:
        code = "file_not_found" if part is None else "parts_missing"  # a link to nowhere
        refused = _skipped(file, code, missing=", ".join(missing[:3]))
    elif not all(is_inside(other, folder) for other in parts):
        refused = _skipped(file, "scan_leads_out")
    else:
        refused = _not_a_model(parts)
    if refused is None:
        return parts
    result.skipped.append(refused)
    return ()


def _is_first_there(file: Path, part: Part) -> bool:
    return not any(file.with_name(part.name(number)).exists() for number in range(1, part.number))


def _not_a_model(parts: tuple[Path, ...]) -> Skipped | None:
    for number, file in enumerate(parts):
        try:
            if not file.is_file():  # opening a pipe would wait for its other end
                return _skipped(file, "not_a_gguf")
            header = read_header(file)
        except ServerError as error:
            return Skipped(file, error.code, error)
        except OSError as error:
            return _skipped(file, "file_unreadable", reason=told_by_system(error))
        if number == 0 and (code := why_no_model(header, file, is_whole=len(parts) == 1)):
            return _skipped(file, code)
    return None


def _size_bytes(parts: tuple[Path, ...]) -> int:
    try:
        return sum(part.stat().st_size for part in parts)
    except OSError:  # taken away in between
        return 0


def _ids(places: Sequence[tuple[Path, Path]], entries: Mapping[str, ModelEntry]) -> list[str]:
    """A name for each file, that nothing else has: the same each time, whichever of them is registered first."""
    stems = [_clean(_stem(file.name)) for _, file in places]
    counts = Counter([*stems, *(_clean(_stem(entry.file.name)) for entry in entries.values())])
    taken = set(by_name(entries.values()))
    ids = []
    for (folder, file), stem in zip(places, stems, strict=True):
        long = _clean(str(file.relative_to(folder).with_name(_stem(file.name))))
        name = stem if counts[stem] == 1 and stem not in taken else long
        number = 1
        while (candidate := name if number == 1 else f"{name}-{number}") in taken:
            number += 1
        taken.add(candidate)
        ids.append(candidate)
    return ids


def _is_unicode(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def _stem(name: str) -> str:
    part = part_of(name)
    return part.stem if part else name[: -len(_SUFFIX)] if name.lower().endswith(_SUFFIX) else name


def _clean(name: str) -> str:
    return _UNUSUAL.sub("-", name)[:MAX_LENGTH]


def _skipped(path: Path, code: str, **values: object) -> Skipped:
    return Skipped(path, code, said(code, path=path, **values))
