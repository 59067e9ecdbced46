"""How much memory models were seen to take, with the settings they had: a small file in the cache, for the next load.

    {"version": 1, "peaks": {"<what the engine was made of>": {"model": "a.gguf", "private_bytes": 1, ...}}}

It may be deleted at any time, and is begun anew where it is damaged. What reads and writes it, the constructor and
`write`, is not for the event loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.registry.files import locked, read_regular, write_atomically

FILE_NAME = "memory-peaks.json"
_VERSION = 1
_N_MAX = 256
_BYTES_MAX = 1024 * 1024
_SAME = 0.02  # the driver's own share of VRAM differs so much from one time to the next


class Peak(msgspec.Struct, frozen=True, omit_defaults=True):
    """The most that an engine was seen to take.

    Attributes:
        model: Its model's file, for whoever reads this one.
        private_bytes: RAM, without the pages of the mapped file and what it keeps of other conversations.
        vram_bytes: On all GPUs; None where the driver does not tell.
        given_up: What it had to do without, to fit into memory.
        at: When it was seen, Unix time.
    """

    model: str
    private_bytes: int
    vram_bytes: int | None = None
    given_up: tuple[str, ...] = ()
    at: float = 0.0


class _File(msgspec.Struct, frozen=True):
    version: int
    peaks: dict[str, Peak]


_decoder = msgspec.json.Decoder(_File)


class Peaks:
    """The peaks of all models.

    Args:
        path: The file; None: nothing outlives this object.
        build: Which build of hoshikage_core they are of: another one may take more, or less.
    """

    def __init__(self, path: Path | None, build: str) -> None:
        self._path = path
        self._build = build
        self._peaks = _read(path)

    def of(self, spec: EngineSpec) -> Peak | None:
        """What an engine of these settings took that was loaded as it was asked for."""
        return self._peaks.get(self._key(spec, ()))

    def all_of(self, spec: EngineSpec) -> list[Peak]:
        """The same, and what engines took that had to do with less."""
        key = self._key(spec, ())
        return [peak for other, peak in self._peaks.items() if other.startswith(key)]

    def note(self, spec: EngineSpec, given_up: Sequence[str], private_bytes: int, vram_bytes: int | None) -> bool:
        """Remembers what one takes; whether that is news.

        Where `auto` put fewer layers on the GPU than before, that says nothing of the time when they fit again.
        """
        key = self._key(spec, given_up)
        before = self._peaks.get(key)
        if before is not None and vram_bytes is not None and before.vram_bytes is not None:
            if vram_bytes < before.vram_bytes * (1 - _SAME):
                return False
            if vram_bytes > before.vram_bytes * (1 + _SAME):
                before = None
        if before is not None:
            private_bytes = max(private_bytes, before.private_bytes)
            vram_bytes = max((n for n in (vram_bytes, before.vram_bytes) if n is not None), default=None)
            if (private_bytes, vram_bytes) == (before.private_bytes, before.vram_bytes):
                return False
        self._peaks.pop(key, None)
        model, at = os.path.basename(spec.path), round(time.time(), 3)
        self._peaks[key] = Peak(model, private_bytes, vram_bytes, tuple(given_up), at)
        return True

    def write(self) -> None:
        """Stores them, with those that another server has noted meanwhile.

        Raises:
            OSError: It could not; the file is as it was.
        """
        if self._path is None:
            return
        ours = self._peaks.copy()
        with locked(self._path):
            both = _read(self._path)
            for key, peak in ours.items():
                both[key] = max(both.get(key, peak), peak, key=lambda one: one.at)
            newest = sorted(both.items(), key=lambda item: item[1].at)[-_N_MAX:]
            write_atomically(self._path, msgspec.json.format(msgspec.json.encode(_File(_VERSION, dict(newest)))))

    def _key(self, spec: EngineSpec, given_up: Sequence[str]) -> str:
        """All of the spec that decides how much it takes."""
        about = msgspec.structs.replace(
            spec,
            n_threads=None,
            may_degrade=False,
            checks_memory=True,
            cache_bytes=0,
            chat_template=None,
            requires_gpu=False,
        )
        digest = hashlib.sha256(repr((self._build, about)).encode()).hexdigest()[:32]
        return " ".join((digest, *given_up))


def _read(path: Path | None) -> dict[str, Peak]:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        if path is not None:
            file = _decoder.decode(read_regular(path, _BYTES_MAX))
            return file.peaks if file.version == _VERSION else {}
    return {}
