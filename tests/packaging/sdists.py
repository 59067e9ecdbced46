"""Small archives in the shape of the pinned sdist."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from build_support.source import Pin

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "llama-cpp-python"
VERSION = "9.9.9"
STEM = f"{NAME.replace('-', '_')}-{VERSION}"


def write_sdist(
    folder: Path, files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None
) -> tuple[Path, Pin]:
    """Writes an sdist with these files (full member names) and symbolic links, and returns it with its pin."""
    path = folder / f"{STEM}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path, Pin(NAME, VERSION, hashlib.sha256(path.read_bytes()).hexdigest())


def vendored(name: str) -> str:
    """Returns the full member name of a file of llama.cpp."""
    return f"{STEM}/vendor/llama.cpp/{name}"


HEAD = {f"{STEM}/.git/modules/vendor/llama.cpp/HEAD": f"{COMMIT}\n".encode()}
