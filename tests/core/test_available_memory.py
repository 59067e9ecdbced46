"""The memory a process may take: the kernel's figure, or what control groups leave of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hoshikage_core.memory import available_bytes

KIB = 1024
NO_LIMIT = 9223372036854771712  # as version 1 says it


class Host:
    """A made-up /proc and /sys/fs/cgroup, with 1000 KiB available."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroup = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable: 1000 kB\n")

    def is_in(self, *lines: str) -> None:
        """Which groups the process is in."""
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def limit(self, group: str, limit: object, used: object = 0, **stat: int) -> None:
        """A group's limit, as version 2 has it; as version 1 below "memory"."""
        folder = self.cgroup / group
        folder.mkdir(parents=True, exist_ok=True)
        is_old = Path(group).parts[:1] == ("memory",)
        (folder / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(f"{limit}\n")
        (folder / ("memory.usage_in_bytes" if is_old else "memory.current")).write_text(f"{used}\n")
        (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat.items()))

    @property
    def available_bytes(self) -> int:
        return available_bytes(self.proc, self.cgroup)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_groups(host: Host) -> None:
    """Neither files nor limits: the kernel's figure."""
    assert host.available_bytes == 1000 * KIB
    host.is_in("0::/user.slice")
    assert host.available_bytes == 1000 * KIB


def test_a_container(host: Host) -> None:
    """It sees itself as the root, or its path on the host, which it does not see."""
    host.limit("", 700_000, 300_000)
    for path in ("/", "/docker/0123", "/../../other"):
        host.is_in(f"0::{path}")
        assert host.available_bytes == 400_000
    (host.proc / "self" / "cgroup").unlink()
    assert host.available_bytes == 400_000
    host.limit("", 700_000, 800_000)
    assert host.available_bytes == 0
    host.limit("", "max", 800_000)
    assert host.available_bytes == 1000 * KIB


def test_a_service(host: Host) -> None:
    """Its own limit, or that of a slice around it: the one that leaves least. One beside it is no matter."""
    host.is_in("0::/system.slice/hoshikage.service")
    host.limit("system.slice/other.service", 1)
    host.limit("system.slice/hoshikage.service", 600_000, 100_000)
    assert host.available_bytes == 500_000
    host.limit("system.slice", 900_000, 700_000)
    assert host.available_bytes == 200_000
    host.limit("system.slice/hoshikage.service", "max", 100_000)
    assert host.available_bytes == 200_000
    host.limit("system.slice", 9_000_000, 700_000)
    assert host.available_bytes == 1000 * KIB


def test_version_1(host: Host) -> None:
    """The memory controller's own path counts, whatever stands beside it."""
    host.is_in("5:cpu,cpuacct:/elsewhere", "4:memory:/jobs/mine", "1:name=systemd:/jobs", "0::/")
    host.limit("memory", NO_LIMIT, 10**9)
    host.limit("memory/jobs", NO_LIMIT, 10**8)
    host.limit("memory/jobs/mine", NO_LIMIT, 10**7)
    host.limit("memory/elsewhere", 1)
    assert host.available_bytes == 1000 * KIB
    host.limit("memory/jobs/mine", 600_000, 500_000, cache=1, total_cache=70_000, total_shmem=20_000)
    assert host.available_bytes == 150_000
    host.limit("memory/jobs", 800_000, 790_000)
    assert host.available_bytes == 10_000


def test_mapped_files_can_be_taken_back(host: Host) -> None:
    """They count as used, but not what is shared memory, which the kernel counts as cached."""
    host.limit("", 700_000, 600_000, anon=300_000, file=300_000, shmem=50_000, file_mapped=1)
    assert host.available_bytes == 350_000
    host.limit("", 700_000, 600_000, file=10, shmem=50)
    assert host.available_bytes == 100_000


def test_what_cannot_be_read(host: Host) -> None:
    """It sets no limit."""
    host.is_in("nonsense", "", "0::/a/b", "12:memory:")
    host.limit("a", "many", 5)
    host.limit("a/b", 5, "some")
    assert host.available_bytes == 1000 * KIB


def test_it_costs_next_to_nothing() -> None:
    """Waking asks for it."""
    took_s = []
    for _ in range(20):
        began = time.thread_time()
        available_bytes()
        took_s.append(time.thread_time() - began)
    assert min(took_s) < 0.005
