"""The user's cache folder: where it is, and how something gets into it whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import explained_os_errors, say


def cache_root() -> Path:
    """Returns $HOSHIKAGE_CACHE_DIR, else $XDG_CACHE_HOME/hoshikage, else ~/.cache/hoshikage."""
    if chosen := os.environ.get("HOSHIKAGE_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().absolute() / "hoshikage"
    return Path.home() / ".cache" / "hoshikage"


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of `target` (a file beside it), so that only one process makes it. Ends with the process."""
    with explained_os_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target.with_name(f"{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"別のビルドが終わるのを待っています ({target.name})", f"waiting for another build ({target.name})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder that becomes `target` when the block ends well and vanishes when it does not.

    The caller holds the lock of `target`. What an earlier, killed process left is removed first.
    """
    draft = target.with_name(f"{target.name}.tmp")
    with explained_os_errors(target.parent):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            # Two renames: at every moment the target is the old one, missing, or the new one, never a mixture.
            old = target.with_name(f"{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            draft.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def publish_file(source: Path, target: Path) -> None:
    """Copies `source` to `target` so that nobody ever sees, or has mapped, a half-written file."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with explained_os_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, draft)
            shutil.copymode(source, draft)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()


def files_sha256(root: Path, files: Iterable[Path]) -> str:
    """Returns the SHA-256 over names (relative to `root`) and contents of files, whatever their order and times."""
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()
