"""Sequences that the KV cache has no room for: in host memory, or in a file that outlives the engine."""

from __future__ import annotations

import ctypes
import os
import time
import zlib
from array import array
from dataclasses import dataclass
from typing import Any, NamedTuple

from hoshikage_core._ffi import ffi

_CHUNK_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 4096
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2


class Checkpoint(NamedTuple):
    """What of a sequence cannot be cut, a window or a state, as it was when it held so many tokens."""

    n_tokens: int
    data: Any
    n_bytes: int


Marks = tuple[tuple[int, int], ...]
"""Of checkpoints that are saved behind a sequence's own bytes: where they were taken, and how many bytes each has."""


@dataclass(frozen=True)
class SleepingPrefix:
    """A sequence in a file: what another engine needs to go on with it.

    Attributes:
        tokens: Its tokens, as the bytes of native 32-bit integers.
        offset: Where in the file its bytes begin.
        n_bytes: How many they are.
        crc: Their CRC-32.
        marks: Where its checkpoints were taken, and how many of its last bytes each has.
    """

    tokens: bytes
    offset: int
    n_bytes: int
    crc: int
    marks: Marks = ()


class InMemory:
    """A sequence in host memory."""

    def __init__(self, tokens: list[int], data: Any, n_bytes: int, marks: Marks = ()) -> None:
        self.tokens = tokens
        self.n_bytes = n_bytes
        self.marks = marks
        self._data = data

    @property
    def n_bytes_in_memory(self) -> int:
        """Host memory that it takes."""
        return self.n_bytes

    def load(self) -> Any:
        """Its bytes; None where they are damaged."""
        return self._data


class InFile:
    """A sequence in a file."""

    def __init__(self, file: int, place: SleepingPrefix) -> None:
        self.tokens = array("i", place.tokens).tolist()
        self.n_bytes = place.n_bytes
        self.n_bytes_in_memory = 0
        self.marks: Marks = tuple((n_tokens, n_bytes) for n_tokens, n_bytes in place.marks)
        self.place = place
        self._file = file

    def load(self) -> Any:
        """Its bytes; None where they are damaged."""
        data = ffi.new("char[]", self.n_bytes)
        view, at = memoryview(ffi.buffer(data)), 0
        try:
            while at < self.n_bytes:
                n_read = os.preadv(self._file, [view[at : at + _CHUNK_BYTES]], self.place.offset + at)
                if n_read == 0:
                    return None
                at += n_read
        except OSError:
            return None
        return data if zlib.crc32(view) == self.place.crc else None


Saved = InMemory | InFile


def n_bytes_of_state(saved: Saved) -> int:
    """Those of the sequence itself."""
    return saved.n_bytes - sum(n_bytes for _, n_bytes in saved.marks)


def checkpoints_of(saved: Saved, data: Any) -> list[Checkpoint]:
    """Its checkpoints, copied out of what it has loaded."""
    checkpoints, at = [], n_bytes_of_state(saved)
    for n_tokens, n_bytes in saved.marks:
        copied = ffi.new("char[]", n_bytes)
        ffi.memmove(copied, data + at, n_bytes)
        checkpoints.append(Checkpoint(n_tokens, copied, n_bytes))
        at += n_bytes
    return checkpoints


class Bed:
    """The file, while an engine puts its sequences into it.

    Args:
        file: Its descriptor; what an engine before has left in it stays where it is.
        room_bytes: How much of it may be used.
        deadline: Until when (monotonic clock); what is not written then, is left out.
    """

    def __init__(self, file: int, room_bytes: int, deadline: float) -> None:
        self.places: list[SleepingPrefix] = []
        self._file = file
        self._room_bytes = room_bytes
        self._deadline = deadline
        self._is_full = False

    @property
    def is_over(self) -> bool:
        """Whether there is no time or no disk to write any more."""
        return self._is_full or time.monotonic() > self._deadline

    def put(self, saved: Saved, compute_s: float) -> bool:
        """Takes a sequence; False if it is left out.

        That is for want of room or time, or because it takes longer to write than to compute: reading it would not pay.

        Args:
            saved: The sequence.
            compute_s: How long it would take to compute it.
        """
        place = self._place_of(saved, compute_s) if saved.n_bytes <= self._room_bytes else None
        if place is None:
            return False
        self.places.append(place)
        self._room_bytes -= saved.n_bytes
        return True

    def tidy(self, before: list[SleepingPrefix]) -> None:
        """Gives back the room of what was in the file before and is not needed any more."""
        kept = {place.offset for place in self.places}
        for place in before:
            if place.offset not in kept:
                _punch_hole(self._file, place)

    def _place_of(self, saved: Saved, compute_s: float) -> SleepingPrefix | None:
        if isinstance(saved, InFile):
            return saved.place
        return None if self.is_over else self._write(saved, time.monotonic() + compute_s)

    def _write(self, saved: InMemory, pays_until: float) -> SleepingPrefix | None:
        offset = -(-os.fstat(self._file).st_size // _BLOCK_BYTES) * _BLOCK_BYTES
        view, at = memoryview(ffi.buffer(saved.load(), saved.n_bytes)), 0
        while at < saved.n_bytes and not self.is_over:
            try:
                at += os.pwrite(self._file, view[at : at + _CHUNK_BYTES], offset + at)
            except OSError:
                self._is_full = True
        if at < saved.n_bytes or time.monotonic() >= pays_until:
            os.ftruncate(self._file, offset)
            return None
        return SleepingPrefix(array("i", saved.tokens).tobytes(), offset, saved.n_bytes, zlib.crc32(view), saved.marks)


def _punch_hole(file: int, place: SleepingPrefix) -> None:
    # Where the file system cannot, the room is given back with the file.
    libc = ctypes.CDLL(None)
    size = ctypes.c_long(-(-place.n_bytes // _BLOCK_BYTES) * _BLOCK_BYTES)
    libc.fallocate(file, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, ctypes.c_long(place.offset), size)
