"""The one error the build shows to people: a sentence in Japanese and in English."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIB = 1024 * 1024
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_LITTLE_SPACE = 16 * _MIB


class BuildError(Exception):
    """The build cannot go on, for a reason a person can act on.

    Attributes:
        ja: The sentence in Japanese.
        en: The sentence in English.
    """

    def __init__(self, ja: str, en: str) -> None:
        super().__init__(f"{ja} / {en}")
        self.ja = ja
        self.en = en


def say(ja: str, en: str) -> None:
    """Tells a person what is happening, on stderr."""
    print(f"[hoshikage] {ja} / {en}", file=sys.stderr, flush=True)


def existing_parent(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _no_space(folder: Path, needed_mib: int | None = None) -> BuildError:
    free_mib = shutil.disk_usage(existing_parent(folder)).free // _MIB
    if needed_mib is None:
        return BuildError(
            f"ディスクの空きがなくなりました: {folder} (残り {free_mib} MiB)。空きを作ってもう一度実行してください。",
            f"No disk space left in {folder} ({free_mib} MiB free): make room and run this again.",
        )
    return BuildError(
        f"ディスクの空きが足りません: {folder} に {needed_mib} MiB 必要ですが、{free_mib} MiB しかありません。",
        f"Not enough disk space: {folder} needs {needed_mib} MiB, {free_mib} MiB are free.",
    )


def require_free_space(folder: Path, needed_mib: int) -> None:
    """Raises unless the file system of `folder` has room for `needed_mib`."""
    if shutil.disk_usage(existing_parent(folder)).free < needed_mib * _MIB:
        raise _no_space(folder, needed_mib)


def raise_if_disk_full(folder: Path) -> None:
    """Raises when a program that just failed most likely did so for want of space."""
    if shutil.disk_usage(existing_parent(folder)).free < _LITTLE_SPACE:
        raise _no_space(folder)


@contextmanager
def explained_os_errors(folder: Path) -> Iterator[None]:
    """Turns the errors of a full or read-only disk below `folder` into a BuildError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise _no_space(folder) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            name = error.filename or os.fspath(folder)
            raise BuildError(
                f"{name} に書き込めません ({error.strerror})。HOSHIKAGE_CACHE_DIR で別の場所を指定できます。",
                f"Cannot write {name} ({error.strerror}): HOSHIKAGE_CACHE_DIR names another place.",
            ) from error
        raise
