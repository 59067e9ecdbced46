"""Sleep that remembers: what engines have computed, kept for the next engine of the same model while none is loaded.

Each model has a file without a name, which only descriptors hold: the server's, and that of the engine which writes it
before it ends and reads it again when a conversation goes on. With the server it is gone.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from typing import IO

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.wire import Sleeping
from hoshikage_server.settings import LiveSettings

_DISK_SHARE = 4  # of what is free there, one file takes a quarter at most
_BEDS_MAX = 64  # each is a descriptor
_BLOCK_BYTES = 512  # of st_blocks


class Bed:
    """A model's file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sleeping: tuple[Sleeping, ...] = ()

    @property
    def descriptor(self) -> int:
        """Which an engine inherits."""
        return self.file.fileno()

    @property
    def n_bytes(self) -> int:
        """What it takes on the disk."""
        return os.fstat(self.descriptor).st_blocks * _BLOCK_BYTES

    @property
    def room_bytes(self) -> int:
        """What the disk lets it take."""
        disk = os.fstatvfs(self.descriptor)
        return self.n_bytes + disk.f_bavail * disk.f_frsize // _DISK_SHARE


class Dormitory:
    """The files of all models, the one that was used least recently first.

    Args:
        settings: For `sleep_cache` and the folder.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._beds: OrderedDict[EngineSpec, Bed] = OrderedDict()

    def bed_for(self, spec: EngineSpec) -> Bed | None:
        """The file of a new engine; None where nothing is to be kept, or can be."""
        if spec.is_vocab_only or self._settings.now.sleep_cache == 0:
            return None
        bed = self._beds.get(spec)
        if bed is None:
            self._forget_replaced(spec)
            folder = self._settings.now.cache_dir
            try:
                folder.mkdir(parents=True, exist_ok=True)
                bed = self._beds[spec] = Bed(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - it is kept
            except OSError:  # a disk that is full or read-only: then it is computed again
                return None
        self._beds.move_to_end(spec)
        return bed

    def room_in(self, bed: Bed) -> int:
        """Bytes that an engine may put there; none in a file that has given way while the engine ran."""
        return 0 if bed.file.closed else min(self._settings.now.sleep_cache, bed.room_bytes)

    def tuck_in(self, spec: EngineSpec, sleeping: tuple[Sleeping, ...]) -> None:
        """Notes what an engine has put into its file before it ended; others give way where it is too much."""
        bed = self._beds.get(spec)
        if bed is None:
            return
        bed.sleeping = sleeping
        self._beds.move_to_end(spec)
        while len(self._beds) > 1 and self._are_too_many():
            _, oldest = self._beds.popitem(last=False)
            oldest.file.close()

    def vacate(self, spec: EngineSpec) -> None:
        """An engine has ended, or could not begin; a file with nothing in it is given back."""
        bed = self._beds.get(spec)
        if bed is not None and not bed.sleeping:
            del self._beds[spec]
            bed.file.close()

    def _forget_replaced(self, spec: EngineSpec) -> None:
        """What was computed with another file of this name is of no use any more."""
        for other in list(self._beds):
            if other.path == spec.path and _version(other) != _version(spec):
                self._beds.pop(other).file.close()

    def _are_too_many(self) -> bool:
        n_bytes = sum(bed.n_bytes for bed in self._beds.values())
        return len(self._beds) > _BEDS_MAX or n_bytes > self._settings.now.sleep_cache


def _version(spec: EngineSpec) -> tuple[int, int, int]:
    return spec.mtime_ns, spec.ctime_ns, spec.size_bytes
