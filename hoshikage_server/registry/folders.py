"""The folders of models (HOSHIKAGE_MODELS_DIR): over the API, no file outside them can be registered.

Links are followed to where they lead, so that one inside cannot lead out. What is registered is the place that was
looked at, with no link in its folders; its own name stays, as the other parts of a model are found by it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hoshikage_server.errors import RequestError
from hoshikage_server.messages import told_by_system
from hoshikage_server.registry.parts import all_parts, part_of

_SHOWN = 3


def allowed_file(name: str, folders: Sequence[Path], param: str) -> Path:
    """A file that exists in one of the folders.

    Args:
        name: Its path: absolute, or relative to one of them (the first that has it).
        folders: The folders.
        param: The request's field that names it.

    Raises:
        RequestError: It is outside, missing, or no regular file.
    """
    try:
        places = [_place(Path(name))] if os.path.isabs(name) else [_place(folder / name) for folder in folders]
        inside = [place for place in places if _is_inside(place, folders)]
        file = next((place for place in inside if os.path.exists(place)), inside[0] if inside else None)
    except ValueError:  # a zero byte in it
        file = None
    if file is None:
        shown = os.pathsep.join(map(str, folders)) or "-"
        raise RequestError("path_not_allowed", param=param, path=name, folders=shown)
    _check_regular(file, name, param)
    return file


def allowed_model(name: str, folders: Sequence[Path]) -> Path:
    """A model's file as `allowed_file` finds it, the first one of a model in several files.

    Raises:
        RequestError: As there, also of its other parts; or it is not the first one. `param` is "path".
    """
    file = allowed_file(name, folders, "path")
    part = part_of(file.name)
    if part is not None and part.number != 1:
        raise RequestError("not_the_first_part", param="path", path=name, first=part.name(1))
    others = all_parts(file)[1:]
    missing = [other.name for other in others if not other.exists()]
    if missing:
        more = "…" if len(missing) > _SHOWN else ""
        raise RequestError("parts_missing", param="path", path=name, missing=", ".join(missing[:_SHOWN]) + more)
    for other in others:
        allowed_file(str(other), folders, "path")
    return file


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is in a folder, wherever links lead."""
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))


def _place(path: Path) -> Path:
    return Path(os.path.realpath(path.parent), path.name)


def _is_inside(place: Path, folders: Sequence[Path]) -> bool:
    return any(is_inside(place.parent, folder) and is_inside(place, folder) for folder in folders)


def _check_regular(file: Path, name: str, param: str) -> None:
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError("file_not_found", param=param, path=name) from None
    except OSError as error:
        raise RequestError("file_unreadable", param=param, path=name, reason=told_by_system(error)) from error
    if stat.S_ISDIR(mode):
        raise RequestError("file_is_folder", param=param, path=name)
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its other end
        raise RequestError("not_a_gguf", param=param, path=name)
