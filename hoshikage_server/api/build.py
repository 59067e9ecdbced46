"""How the native module was built, read from its file: the HTTP process never loads it."""

from __future__ import annotations

import importlib.util
import json
import mmap
from pathlib import Path

from hoshikage_server import __version__
from hoshikage_server.api.status_objects import BuildStatus
from hoshikage_server.registry.peaks import FILE_NAME, Peaks

# The beginning of what build_support writes into it (HSK_BUILD); a C string, it ends with a zero byte.
_MARK = b'{"backend": "'


def read_build() -> BuildStatus | None:
    """How hoshikage_core was built; None when that cannot be told."""
    module = _native_module()
    try:
        return None if module is None else _build_of(module)
    except (OSError, ValueError, LookupError):
        return None


def _native_module() -> Path | None:
    spec = importlib.util.find_spec("hoshikage_core")  # finds it without importing it
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in Path(folder).glob("_native*.so")), None)


def _build_of(module: Path) -> BuildStatus:
    with module.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        begin = data.find(_MARK)
        text = data[begin : data.find(b"\0", begin)] if begin >= 0 else b""
    described = json.loads(text)
    cuda = described["cuda"]
    return BuildStatus(
        described["llama_cpp"]["commit"], described["backend"], described["compiler"], cuda and cuda["version"]
    )


def open_peaks(cache_dir: Path) -> Peaks:
    """What models with this build were seen to take of memory."""
    return Peaks(cache_dir / FILE_NAME, f"{__version__} {read_build()}")
