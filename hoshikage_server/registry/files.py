"""Writing a file that others read and write at the same time: under a lock, and whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

LOCK_TIMEOUT_S = 10.0
_PERMISSIONS = 0o644  # of a new file
_UNFINISHED = ".unfinished"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same from writing a file. Blocks: not for the event loop.

    Raises:
        filelock.Timeout: Somebody else has held the lock for too long.
        OSError: There can be no lock.
    """
    target = _target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock", timeout=LOCK_TIMEOUT_S):
        yield


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file, under its lock; whatever happens, it is the old one or the new one. Permissions and links stay.

    Raises:
        OSError: It could not be written, and is as it was.
    """
    target = _target(path)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{_UNFINISHED}"):  # by a writer that was killed
        left.unlink(missing_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_UNFINISHED, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _permissions(target))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        # gevent's os.close() leaves it to the loop of this thread, which in a thread of a pool may never run.
        os.closerange(folder, folder + 1)


def _target(path: Path) -> Path:
    """The file itself, where the path is a link."""
    return Path(os.path.realpath(path))


def _permissions(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _PERMISSIONS


class NotRegularError(OSError):
    """A pipe, a device or the like: reading it might wait for ever, or never end."""


def read_regular(path: Path, n_bytes_max: int) -> bytes:
    """The content of a regular file, or as much of it as shows that it is too large.

    Raises:
        NotRegularError: It is none.
        OSError: It cannot be read.
    """
    with open(path, "rb", opener=_open_at_once) as file:  # which itself refuses a folder
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotRegularError
        return file.read(n_bytes_max + 1)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else of a pipe, it would wait for its other end
