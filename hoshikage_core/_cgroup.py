"""What the kernel's control groups leave of the host's memory: a container's limit, or a service's (MemoryMax=)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class _Files:
    """Where one version of control groups says what, beside "memory." in each name."""

    folder: str
    limit: str
    used: str
    cached: str
    shared: str


# What is cached counts as used, a mapped model file above all, though the kernel takes it back when memory is needed;
# but not what is shared (tmpfs), which it counts as cached.
_VERSION_1 = _Files("memory", "limit_in_bytes", "usage_in_bytes", "total_cache", "total_shmem")
_VERSION_2 = _Files("", "max", "current", "file", "shmem")


def available_bytes(proc: StrPath, cgroup: StrPath) -> int | None:
    """The least that a group of this process or one around it leaves; None where none has a limit.

    Args:
        proc: Where /proc is.
        cgroup: Where the groups are: /sys/fs/cgroup.
    """
    # Seen from a container, the path may be the host's, of which the container has only the end: its root.
    paths = {_VERSION_1: "", _VERSION_2: ""}
    for line in lines(os.path.join(proc, "self", "cgroup")):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            paths[_VERSION_2] = path
        elif "memory" in controllers.split(","):
            paths[_VERSION_1] = path
    left = (_left(folder, files) for files, path in paths.items() for folder in _ancestry(cgroup, files.folder, path))
    return min((n_bytes for n_bytes in left if n_bytes is not None), default=None)


def _ancestry(cgroup: StrPath, folder: str, path: str) -> Iterator[str]:
    """A group's folder and those of the groups around it, up to the root."""
    names = [name for name in path.split("/") if name not in ("", ".", "..")]
    for n in range(len(names), -1, -1):
        yield os.path.join(cgroup, folder, *names[:n])


def _left(folder: str, files: _Files) -> int | None:
    limit = _number(os.path.join(folder, f"memory.{files.limit}"))
    if limit is None:  # "max", or no such group
        return None
    used = _number(os.path.join(folder, f"memory.{files.used}"))
    if used is None:
        return None
    stat = dict(line.split(" ", 1) for line in lines(os.path.join(folder, "memory.stat")) if " " in line)
    cached, shared = (int(stat.get(name, "0")) for name in (files.cached, files.shared))
    return limit - used + max(0, cached - shared)


def _number(path: str) -> int | None:
    found = lines(path)
    return int(found[0]) if found and found[0].isdigit() else None


def lines(path: str) -> list[str]:
    """The lines of a file of the kernel's; none where there is no such file."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
