"""The memory that this process has freed, and the C library would keep."""

from __future__ import annotations

import ctypes
import gc

_M_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE_BYTES = 256 * 1024


def give_large_blocks_back() -> None:
    """Lets the C library return large blocks to the system when they are freed.

    glibc does so at first, but learns from each that it should rather keep the next: after some large requests a server
    holds more than all the rest of it takes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's own
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Returns what nobody refers to any more, small pieces too. Takes milliseconds: for when an engine has ended."""
    gc.collect()  # an error and the way it took hold each other, and the request with them
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
