"""What an engine holds, and the proof that nothing of it is left after its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gevent

from hoshikage_server import messages
from hoshikage_server.engines import processes
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.engines.nvml import Device, GpuUse
from hoshikage_server.engines.processes import Process
from hoshikage_server.messages import Said, Sentence, said, told_by_system

_FIRST_PAUSE_S = 0.02
# One for all engines: whoever reads a stranger's environment may have to wait for the stranger.
_calls = NativeCalls(limit_s=5.0)
_MIB = 1024 * 1024
_CONTEXT_BYTES = 64 * _MIB  # less than the least that a process takes which computes on a GPU


@dataclass(frozen=True)
class Usage:
    """The memory that processes hold.

    Attributes:
        rss_bytes: All that is in RAM, with the pages of the mapped model file, which the system can take at any time.
        private_bytes: Anonymous memory, in RAM or swapped out: what the end of the process surely gives back. It comes
            from the kernel's counters; smaps_rollup's figure would cost a walk through the page tables of the whole
            model (25 ms for 2 GiB) at each look.
        vram_bytes: None without an NVIDIA GPU, and where the driver does not tell: in most containers it names
            processes by the host's numbers, and under WSL it names none.
    """

    rss_bytes: int = 0
    private_bytes: int = 0
    vram_bytes: int | None = None


@dataclass(frozen=True)
class Freed:
    """What the end of an engine gave back, and what stayed.

    The devices' figure is that of all GPUs and of all who use them. Where the driver does not tell whose the memory is,
    there is nothing else to go by; but others come and go, so it is a `problem` only where it rose with the engine and
    has hardly fallen since.

    Attributes:
        usage: What was given back since the last `Footprint.usage_of`; None if nobody had looked.
        left: What the survivors hold, and what the driver still lists for the engine.
        survivors: Processes that stayed.
        gpu_pids: The engine's processes that the driver still lists.
        devices_fell_bytes: By how much less of the devices' memory is in use than at the last `usage_of`.
        problem: Why it is not known what stayed.
    """

    usage: Usage | None = None
    left: Usage = Usage()
    survivors: tuple[Process, ...] = ()
    gpu_pids: tuple[int, ...] = ()
    devices_fell_bytes: int | None = None
    problem: Sentence | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing stayed, as far as anybody can tell."""
        return not self.survivors and not self.gpu_pids and self.problem is None

    def text(self, language: str) -> str:
        """For the log."""
        return messages.text("comma", language).join(sentence.text(language) for sentence in self._sentences())

    def __str__(self) -> str:
        return self.text("en")

    def _sentences(self) -> Iterator[Said]:
        if self.problem is not None:
            yield said("freed_unknown", problem=self.problem)
        if self.usage is not None:
            yield said("freed_ram", ram=_mib(self.usage.rss_bytes), own=_mib(self.usage.private_bytes))
            if self.usage.vram_bytes is not None:
                yield said("freed_vram", vram=_mib(self.usage.vram_bytes))
            elif self.devices_fell_bytes is not None:
                yield said("freed_devices", size=_mib(self.devices_fell_bytes))
        for survivor in self.survivors:
            yield said("freed_survivor", pid=survivor.pid, name=survivor.name, size=_mib(survivor.rss_bytes))
        if self.gpu_pids:
            left = said("unknown_amount") if self.left.vram_bytes is None else _mib(self.left.vram_bytes)
            yield said("freed_vram_stayed", size=left, pids=", ".join(map(str, self.gpu_pids)))
        if self.is_all and self.usage is None:
            yield said("freed_nothing_stayed")


@dataclass(frozen=True)
class _Look:
    usage: Usage
    gpu_use: GpuUse | None
    pids: frozenset[int]

    def counted(self, survivors: Sequence[Process]) -> list[Process]:
        """Who was counted then: what others hold cannot be missing from what was given back."""
        return [survivor for survivor in survivors if survivor.pid in self.pids]


class Footprint:
    """What one engine process holds, from before its start until after its end.

    Make it before the engine is started; that returns at once, and the look at the GPU goes on beside the start, which
    takes longer. Start the engine as the leader of a session, with `environment`.

    Args:
        gpu: None for an engine that touches no GPU, which must not be woken by looks either.
    """

    def __init__(self, gpu: Gpu | None) -> None:
        self._gpu = gpu
        self._mark = os.urandom(16).hex()
        self._older = frozenset(processes.all_pids())
        self._before: gevent.Greenlet | None = None if gpu is None else gevent.spawn(gpu.look)
        self._known: set[int] = set()  # all processes the engine was seen to have: the driver may list one that is gone
        self._is_listed = False
        self._last: _Look | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the engine's environment needs besides the usual."""
        return {processes.MARK: self._mark}

    @property
    def has_gpu(self) -> bool:
        """Whether a look at the GPU may tell anything."""
        return self._gpu is not None and self._gpu.is_there

    def look_at_gpu(self, max_age_s: float = 0.0) -> GpuUse | None:
        """The GPUs now, by a look that is not older; None where there is none. Only while the engine runs."""
        return None if self._gpu is None else self._gpu.look(max_age_s)

    def energy_between(self, before: GpuUse, after: GpuUse) -> float | None:
        """What the GPUs that it uses have drawn between two looks, in joules; None where one does not tell.

        Where the driver does not tell which those are, it is all of them.
        """
        pids = self._listed(after).keys()
        used = [device for device in after.devices if device.by_pid and pids & device.by_pid.keys()]
        earlier = {device.index: device.energy_j for device in before.devices}
        spent_j = 0.0
        for device in used or after.devices:
            energy_j = earlier.get(device.index)
            if energy_j is None or device.energy_j is None:
                return None
            spent_j += device.energy_j - energy_j
        return spent_j

    def energy_of(self, device: Device) -> float | None:
        """What a GPU has drawn since before the engine's start, in joules."""
        before = self._use_before() if self._before is not None and self._before.ready() else None
        earlier = {one.index: one.energy_j for one in before.devices} if before else {}
        energy_j = earlier.get(device.index)
        return None if energy_j is None or device.energy_j is None else device.energy_j - energy_j

    def usage_of(self, pid: int, *, gpu_max_age_s: float = 1.0) -> Usage | None:
        """What the engine's session holds now. Pages that several processes share count for each.

        Only a look at the GPU is waited for, by the calling greenlet.

        Args:
            pid: The engine.
            gpu_max_age_s: A look at the GPU that is not older will do.

        Returns:
            None when all its processes are gone, and when nobody can look for want of descriptors.
        """
        try:
            alive = processes.of_session(pid)
        except OSError:
            return None
        if not alive:
            return None
        use = None if self._gpu is None else self._gpu.look(gpu_max_age_s)
        self._known.update(process.pid for process in alive)
        usage = _sum(alive, self._vram(use, self._listed(use)))
        if usage.rss_bytes:  # else it is just ending
            self._last = _Look(usage, use, frozenset(process.pid for process in alive))
        return usage

    def freed(self, pid: int, settle_s: float = 2.0) -> Freed:
        """What the end of the engine gave back. Blocks the calling greenlet.

        Args:
            pid: The engine, which has been waited for.
            settle_s: How long what stayed may need to go: a process that was killed, a driver's list. What cannot be
                looked at takes some seconds more.
        """
        deadline = time.monotonic() + settle_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                freed = self._freed(pid)
            except (OSError, RuntimeError) as error:  # no descriptors, threads or answer: not for long, perhaps
                freed = Freed(problem=told_by_system(error) if isinstance(error, OSError) else said("no_threads"))
            if freed.is_all or time.monotonic() > deadline:
                return freed
            gevent.sleep(pause_s)
            pause_s *= 2

    def _freed(self, pid: int) -> Freed:
        survivors = _calls.call(processes.of_engine, pid, self._mark, self._older)
        use = None if self._gpu is None else self._gpu.look()
        self._known.update((pid, *(survivor.pid for survivor in survivors)))
        listed = self._listed(use)
        vram_bytes = self._vram(use, listed)
        last = self._last
        fell_bytes = None if last is None else _fall(last.gpu_use, use)
        return Freed(
            None if last is None else _difference(last.usage, _sum(last.counted(survivors), vram_bytes)),
            _sum(survivors, vram_bytes),
            tuple(survivors),
            tuple(sorted(listed)),
            fell_bytes,
            said("gpus_did_not_fall") if vram_bytes is None and self._has_stayed_high(fell_bytes) else None,
        )

    def _has_stayed_high(self, fell_bytes: int | None) -> bool:
        """Whether the memory in use on GPUs rose with the engine and has not fallen with it."""
        rose_bytes = None if self._last is None else _fall(self._last.gpu_use, self._use_before())
        if rose_bytes is None or fell_bytes is None:
            return False
        return rose_bytes > _CONTEXT_BYTES and fell_bytes < rose_bytes // 10

    def _use_before(self) -> GpuUse | None:
        use: GpuUse | None = None if self._before is None else self._before.get()
        return use

    def _listed(self, use: GpuUse | None) -> dict[int, int | None]:
        """The engine's processes in the driver's list."""
        if use is None or use.by_pid is None or self._gpu is None:
            return {}
        ours = {pid: use.by_pid[pid] for pid in self._known if pid in use.by_pid}
        if not self._gpu.pids_are_ours:
            before = self._use_before()
            strangers = before.by_pid if before is not None and before.by_pid is not None else {}
            ours = {pid: n_bytes for pid, n_bytes in ours.items() if pid not in strangers}
        self._is_listed = self._is_listed or bool(ours)
        return ours

    def _vram(self, use: GpuUse | None, listed: dict[int, int | None]) -> int | None:
        if use is None or use.by_pid is None or self._gpu is None:
            return None
        if not listed and not self._gpu.pids_are_ours and not self._is_listed:
            return None  # it may well be in the list, by a number that we do not know
        shares = [n_bytes for n_bytes in listed.values() if n_bytes is not None]
        return sum(shares) if len(shares) == len(listed) else None


def _sum(alive: Sequence[Process], vram_bytes: int | None) -> Usage:
    rss_bytes = sum(process.rss_bytes for process in alive)
    return Usage(rss_bytes, sum(process.private_bytes for process in alive), vram_bytes)


def _difference(held: Usage, left: Usage) -> Usage:
    return Usage(
        held.rss_bytes - left.rss_bytes,
        held.private_bytes - left.private_bytes,
        _minus(held.vram_bytes, left.vram_bytes),
    )


def _fall(earlier: GpuUse | None, later: GpuUse | None) -> int | None:
    return None if earlier is None or later is None else _minus(earlier.used_bytes, later.used_bytes)


def _minus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a - b


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:.1f} MiB"
