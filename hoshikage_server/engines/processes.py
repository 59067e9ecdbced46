"""The processes of an engine and their memory, as /proc tells.

They are those of its session, whose leader the engine is, and those that left the session but carry its mark in their
environment, as every descendant does. /proc is read by hand: psutil knows no sessions and no marks, so that little
would be left for it to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass

MARK = "HOSHIKAGE_ENGINE"  # the environment variable

_GONE = (FileNotFoundError, ProcessLookupError)  # anything else, no free descriptor say, is told to the caller
_FIELDS = re.compile(rb"^(Name|State|Threads|VmRSS|RssAnon|VmSwap):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """A process that holds memory.

    Attributes:
        pid: Its id.
        name: What the kernel calls it.
        rss_bytes: All of its memory that is in RAM.
        private_bytes: Its anonymous memory, in RAM or swapped out.
    """

    pid: int
    name: str
    rss_bytes: int
    private_bytes: int


def all_pids() -> list[int]:
    """Every process we can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def of_session(leader: int) -> list[Process]:
    """The processes of a session, without those that have ended and only wait for their parent to ask how."""
    return _read_all(_session(leader))


def of_engine(pid: int, mark: str, older: Set[int]) -> list[Process]:
    """Every process of an engine, whatever session it is in. Reading a stranger's environment may block.

    Args:
        pid: The engine, alive or not.
        mark: What MARK is for it.
        older: Processes that were there before the engine, and are not looked at.
    """
    marked = {other for other in all_pids() if other not in older and _has_mark(other, mark)}
    members = set(_session(pid))
    if pid in members and pid not in marked:
        members = set()  # the number was given to another process meanwhile
    return _read_all(sorted(members | marked))


def _session(leader: int) -> list[int]:
    return [pid for pid in all_pids() if _session_of(pid) == leader]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (*_GONE, PermissionError):
        return None


def _has_mark(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except (*_GONE, PermissionError):  # somebody else's
        return False


def _read_all(pids: Iterable[int]) -> list[Process]:
    return [process for pid in pids if (process := _read(pid)) is not None]


def _read(pid: int) -> Process | None:
    """One process; None when it is gone, or has ended and only waits for its parent to ask how."""
    try:
        fields = _fields(f"/proc/{pid}/status")
        if fields[b"State"][:1] in b"ZX":
            if int(fields[b"Threads"]) <= 1:
                return None
            # Its first thread has ended, another has not (the driver may hold it): only that one shows the memory.
            others = (_fields(f"/proc/{pid}/task/{thread}/status") for thread in os.listdir(f"/proc/{pid}/task"))
            fields = next((other for other in others if b"VmRSS" in other), fields)
    except _GONE:
        return None
    rss_bytes = _kib(fields, b"VmRSS")
    private_bytes = _kib(fields, b"RssAnon") + _kib(fields, b"VmSwap")
    return Process(pid, fields[b"Name"].decode("utf-8", "replace"), rss_bytes, private_bytes)


def _fields(path: str) -> dict[bytes, bytes]:
    with open(path, "rb") as file:
        return dict(_FIELDS.findall(file.read()))


def _kib(fields: dict[bytes, bytes], name: bytes) -> int:
    return int(fields[name].split()[0]) * 1024 if name in fields else 0  # absent when the memory is gone already
