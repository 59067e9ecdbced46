"""What can be said of a file without knowing what it holds: its sha256, its size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from hoshikage_server.registry.parts import all_parts

_READ_BYTES = 4 * 1024 * 1024


def sha256_of(file: Path, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
    """The sha256 of a file.

    Args:
        file: The file.
        on_read: Told how many bytes were read, again and again.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_READ_BYTES):
            digest.update(piece)
            on_read(len(piece))
    return digest.hexdigest()


def size_of(file: Path) -> int | None:
    """Bytes of all files of a model; None where one is missing."""
    try:
        return sum(part.stat().st_size for part in all_parts(file))
    except OSError:
        return None
