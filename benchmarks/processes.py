"""What processes hold and use, as /proc tells it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes it started that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def pss_mib(pids: Iterable[int]) -> float:
    """What processes hold in memory, pages that several share divided among them."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) / 1024


def rss_mib(pids: Iterable[int]) -> float:
    """What processes hold in memory, each counted whole."""
    return sum(_field(Path(f"/proc/{pid}/status"), "VmRSS:") for pid in pids) / 1024


def n_descriptors(pids: Iterable[int]) -> int:
    """Files, sockets and pipes that are open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def cpu_s(thread: Path) -> float:
    """Processor time of a thread so far; the folder of a process stands for its first thread."""
    nanoseconds = (thread / "schedstat").read_text(encoding="ascii").split()[0]
    return int(nanoseconds) / 1e9


def idle_cost(pids: Iterable[int], watch_s: float) -> dict[str, float]:
    """Wake-ups, and ms of processor time, in a second of processes that have nothing to do."""
    pids = list(pids)

    def now() -> tuple[int, float]:
        threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
        n_waits = sum(_field(thread / "status", "voluntary_ctxt_switches:") for thread in threads)
        return n_waits, sum(cpu_s(thread) for thread in threads)

    switches, used_s = now()
    time.sleep(watch_s)
    switches_after, used_after_s = now()
    return {
        "wake-ups": (switches_after - switches) / watch_s,
        "processor": 1000 * (used_after_s - used_s) / watch_s,
    }


def _field(path: Path, field: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
