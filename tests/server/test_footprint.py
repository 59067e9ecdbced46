"""What an engine holds and what stays of it, seen on real processes; the GPU's driver is a fake library."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from fake_nvml import IDLE, NOT_SUPPORTED, FakeNvml

from hoshikage_server.engines import footprint as footprint_module
from hoshikage_server.engines import processes
from hoshikage_server.engines.footprint import Footprint, Freed, Usage
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.engines.processes import Process

FAMILY = (sys.executable, str(Path(__file__).resolve().parent.parent / "fakes" / "family.py"))
MIB = 1024 * 1024
GIB = 1024 * MIB


class Engine:
    """A started family.py.

    Args:
        footprint: Made before.
        relatives: Its arguments.
    """

    def __init__(self, footprint: Footprint, *relatives: str) -> None:
        environ = {**os.environ, **footprint.environment}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*FAMILY, *relatives], stdin=pipe, stdout=pipe, env=environ, start_new_session=True
        )
        assert self.process.stdout is not None
        self.pids: dict[str, int] = json.loads(self.process.stdout.readline())

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill(self, *relatives: str) -> None:
        for what in relatives:
            os.kill(self.pids[what], signal.SIGKILL)

    def close(self) -> None:
        self.end()
        for what in set(self.pids) - {"self"}:
            try:
                self.kill(what)
            except ProcessLookupError:
                continue
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


Start = Callable[..., Engine]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Engine] = []

    def start_one(footprint: Footprint, *relatives: str) -> Engine:
        started.append(Engine(footprint, *relatives))
        return started[-1]

    yield start_one
    for engine in started:
        engine.close()


def stayed(freed: Freed, engine: Engine) -> set[str]:
    """Which relatives."""
    names = {pid: what for what, pid in engine.pids.items()}
    return {names[process.pid] for process in freed.survivors}


def test_everything_is_given_back(start: Start) -> None:
    footprint = Footprint(None)
    engine = start(footprint, "child:30", "self:50")
    usage = footprint.usage_of(engine.pid)
    assert usage is not None
    assert usage.vram_bytes is None
    assert 80 * MIB < usage.private_bytes < 130 * MIB  # and what two Pythons need
    assert usage.rss_bytes >= usage.private_bytes
    engine.end()
    engine.kill("child")
    freed = footprint.freed(engine.pid)
    assert freed == Freed(usage, Usage())
    assert freed.is_all
    assert "given back" in str(freed)
    assert "stayed" not in str(freed)


def test_a_mapped_file_is_not_private(start: Start) -> None:
    """It is in RAM while there is room."""
    footprint = Footprint(None)
    plain, mapping = (footprint.usage_of(start(footprint, *what).pid) for what in ((), ("mapped:64",)))
    assert plain is not None
    assert mapping is not None
    assert mapping.rss_bytes - plain.rss_bytes > 60 * MIB
    assert abs(mapping.private_bytes - plain.private_bytes) < 8 * MIB


@pytest.mark.parametrize("what", ["child", "orphan", "setsid", "daemon", "bare", "half"])
def test_a_relative_that_stays(start: Start, what: str) -> None:
    """It is found wherever it went, with what it holds, until it is gone."""
    footprint = Footprint(None)
    engine = start(footprint, f"{what}:40")
    before = footprint.usage_of(engine.pid)
    engine.end()
    freed = footprint.freed(engine.pid, settle_s=0)
    assert not freed.is_all
    assert stayed(freed, engine) == {what}
    assert 40 * MIB < freed.left.private_bytes < 60 * MIB
    assert freed.left.vram_bytes is None
    assert f"process {engine.pids[what]} (" in str(freed)
    assert before is not None
    assert freed.usage is not None
    if what in ("setsid", "daemon"):  # not in the session, so not counted before: all of the rest came back
        assert freed.usage == before
    else:
        assert freed.usage.private_bytes == before.private_bytes - freed.left.private_bytes
    engine.kill(what)
    assert footprint.freed(engine.pid).is_all


def test_all_of_them_at_once(start: Start) -> None:
    """Each is counted once, the zombie not at all."""
    relatives = ("child", "orphan", "setsid", "daemon", "bare", "half")
    footprint = Footprint(None)
    engine = start(footprint, "zombie", *(f"{what}:1" for what in relatives))
    engine.end()
    freed = footprint.freed(engine.pid, settle_s=0)
    assert stayed(freed, engine) == set(relatives)
    assert len(freed.survivors) == len(relatives)


def test_the_last_may_need_a_moment(start: Start) -> None:
    """What goes away within the time given has not stayed; it is waited for no longer than needed."""
    footprint = Footprint(None)
    engine = start(footprint, "child:1", "daemon:1")
    engine.end()
    gevent.spawn_later(0.1, engine.kill, "child", "daemon")
    with gevent.Timeout(60):
        assert footprint.freed(engine.pid, settle_s=60).is_all


def test_who_is_gone_holds_nothing(start: Start) -> None:
    """Neither a process that has ended and was not waited for yet, nor one that was; what it held is not forgotten."""
    footprint = Footprint(None)
    engine = start(footprint, "self:20")
    held = footprint.usage_of(engine.pid)
    engine.process.kill()
    os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)
    assert footprint.usage_of(engine.pid) is None
    engine.process.wait()
    assert footprint.usage_of(engine.pid) is None
    assert footprint.freed(engine.pid) == Freed(held, Usage())


def test_an_engine_nobody_looked_at(start: Start) -> None:
    """It is not known what it gave back, but that nothing stayed."""
    footprint = Footprint(None)
    engine = start(footprint)
    engine.end()
    freed = footprint.freed(engine.pid)
    assert freed == Freed(None, Usage())
    assert freed.is_all
    assert str(freed) == "nothing stayed"


def test_strangers(start: Start) -> None:
    """Another engine is none of ours, not even if it were given our engine's number."""
    footprint, other = Footprint(None), Footprint(None)
    engine, stranger = start(footprint), start(other, "child:1", "daemon:1")
    engine.end()
    assert footprint.freed(engine.pid, settle_s=0).is_all
    assert footprint.freed(stranger.pid, settle_s=0).is_all
    stranger.end()
    assert stayed(other.freed(stranger.pid, settle_s=0), stranger) == {"child", "daemon"}


def test_without_descriptors(start: Start) -> None:
    """It is not known what stayed, and said so, instead of an error or a false 'nothing'; then it is looked again."""
    footprint = Footprint(None)
    engine = start(footprint, "child:1")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert footprint.freed(engine.pid, settle_s=0).survivors
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        assert footprint.usage_of(engine.pid) is None
        freed = footprint.freed(engine.pid, settle_s=0)
        gevent.spawn_later(0.1, resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        later = footprint.freed(engine.pid, settle_s=1.5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert freed.problem is not None
    assert not freed.is_all
    assert "not known" in str(freed)
    assert later.problem is None
    assert later.survivors


def test_a_process_that_cannot_be_looked_at(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known what stayed, and said so, after a bounded time; it is known again when the kernel answers."""
    footprint = Footprint(None)
    engine = start(footprint, "child:1")
    engine.end()
    is_held = threading.Event()
    of_engine = processes.of_engine

    def held(*arguments: Any) -> list[Process]:
        is_held.wait()
        return of_engine(*arguments)

    monkeypatch.setattr(processes, "of_engine", held)
    monkeypatch.setattr(footprint_module, "_calls", NativeCalls(0.1))
    try:
        with gevent.Timeout(60):
            freed = [footprint.freed(engine.pid, settle_s=0) for _ in range(30)]
    finally:
        is_held.set()
    assert {str(one.problem) for one in freed} == {"there was no answer in time"}
    assert not freed[0].is_all
    assert "not known" in str(freed[0])
    with gevent.Timeout(60):
        while (later := footprint.freed(engine.pid, settle_s=0)).problem is not None:
            gevent.sleep(0.01)
    assert stayed(later, engine) == {"child"}


def look(footprint: Footprint, engine: Engine) -> Usage:
    usage = footprint.usage_of(engine.pid, gpu_max_age_s=0)
    assert usage is not None
    return usage


def footprint_on(nvml: FakeNvml, pids_are_ours: bool = True) -> Footprint:
    """One that has seen the GPU before the load."""
    n_looks = nvml.n_looks
    footprint = Footprint(nvml.gpu(pids_are_ours))
    with gevent.Timeout(60):
        while nvml.n_looks == n_looks or nvml.n_open:
            gevent.sleep(0.001)
    return footprint


def test_vram(nvml: FakeNvml, start: Start) -> None:
    """All of the session's processes on all GPUs; somebody else's share is nobody's business."""
    nvml.say(f"device {GIB} 0 0", f"process 1 {GIB}")
    footprint = footprint_on(nvml)
    engine = start(footprint, "child:1")
    assert look(footprint, engine).vram_bytes == 0
    ours = (f"process {engine.pid} {3 * GIB}", f"process {engine.pids['child']} {GIB}")
    nvml.say(f"device {5 * GIB} 0 0", f"process 1 {GIB}", *ours, f"device {GIB} 0 0", f"process {engine.pid} {GIB}")
    assert look(footprint, engine).vram_bytes == 5 * GIB
    engine.end()
    engine.kill("child")
    nvml.say(f"device {GIB + 1} 0 0", f"process 1 {GIB}", *IDLE)
    freed = footprint.freed(engine.pid)
    assert freed.is_all
    assert freed.usage is not None
    assert (freed.usage.vram_bytes, freed.left.vram_bytes) == (5 * GIB, 0)
    assert freed.devices_fell_bytes == 5 * GIB - 1
    assert "5120.0 MiB of VRAM given back" in str(freed)
    assert nvml.n_open == 0


@pytest.mark.parametrize(("share", "left", "words"), [(GIB, GIB, "1024.0 MiB"), (-1, None, "an unknown amount")])
def test_vram_that_stays(nvml: FakeNvml, start: Start, share: int, left: int | None, words: str) -> None:
    """What the driver still lists when the process is gone has stayed, even where the share is not told."""
    footprint = footprint_on(nvml)
    engine = start(footprint)
    nvml.say(f"device {4 * GIB} 0 0", f"process {engine.pid} {4 * GIB}")
    assert look(footprint, engine).vram_bytes == 4 * GIB
    nvml.say(f"device {GIB} 0 0", f"process {engine.pid} {share}")
    engine.end()
    freed = footprint.freed(engine.pid, settle_s=0)
    assert not freed.is_all
    assert freed.gpu_pids == (engine.pid,)
    assert freed.survivors == ()
    assert freed.left.vram_bytes == left
    assert f"{words} of VRAM stayed with {engine.pid}" in str(freed)
    gevent.spawn_later(0.1, nvml.say, *IDLE)
    with gevent.Timeout(60):
        assert footprint.freed(engine.pid, settle_s=60).is_all


def test_an_escaped_process_on_the_gpu(nvml: FakeNvml, start: Start) -> None:
    """A process that left the session is recognised in the driver's list, although it was never looked at before."""
    footprint = footprint_on(nvml)
    engine = start(footprint, "daemon:1")
    nvml.say(f"device {GIB} 0 0", f"process {engine.pids['daemon']} {GIB}")
    engine.end()
    freed = footprint.freed(engine.pid, settle_s=0)
    assert freed.gpu_pids == (engine.pids["daemon"],)
    assert freed.left.vram_bytes == GIB


def test_in_a_container(nvml: FakeNvml, start: Start) -> None:
    """The driver lists processes by numbers we do not know: our share is not known, only what all GPUs have in use."""
    footprint = footprint_on(nvml, pids_are_ours=False)
    engine = start(footprint)
    nvml.say(f"device {4 * GIB} 0 0", f"process 4000001 {4 * GIB}")
    assert look(footprint, engine).vram_bytes is None
    engine.end()
    nvml.say(f"device {GIB} 0 0")
    freed = footprint.freed(engine.pid)
    assert freed.is_all
    assert freed.usage is not None
    assert (freed.usage.vram_bytes, freed.left.vram_bytes) == (None, None)
    assert freed.devices_fell_bytes == 3 * GIB
    assert "the GPUs' memory in use fell by 3072.0 MiB" in str(freed)


@pytest.mark.parametrize(("after", "is_known"), [(GIB, True), (4 * GIB, False), (4 * GIB - 100 * MIB, False)])
def test_in_a_container_that_gets_nothing_back(nvml: FakeNvml, start: Start, after: int, is_known: bool) -> None:
    """Where the memory in use rose with the engine and does not fall with it, whose it is is not known, and said so."""
    nvml.say(f"device {GIB} 0 0")
    footprint = footprint_on(nvml, pids_are_ours=False)
    engine = start(footprint)
    nvml.say(f"device {4 * GIB} 0 0", f"process 4000001 {4 * GIB}")
    look(footprint, engine)
    engine.end()
    nvml.say(f"device {after} 0 0")
    freed = footprint.freed(engine.pid, settle_s=0)
    assert freed.is_all is is_known
    assert ("nvidia-smi" in str(freed)) is not is_known


def test_in_a_container_that_shares_our_numbers(nvml: FakeNvml, start: Start) -> None:
    """Once the driver has listed the engine, its numbers are ours: not to be listed means to hold nothing."""
    footprint = footprint_on(nvml, pids_are_ours=False)
    engine = start(footprint)
    nvml.say(f"device {4 * GIB} 0 0", f"process {engine.pid} {4 * GIB}")
    assert look(footprint, engine).vram_bytes == 4 * GIB
    engine.end()
    nvml.say(*IDLE)
    freed = footprint.freed(engine.pid)
    assert freed.usage is not None
    assert (freed.usage.vram_bytes, freed.left.vram_bytes) == (4 * GIB, 0)


def test_a_stranger_with_our_number(nvml: FakeNvml, start: Start) -> None:
    """In a container a number that was listed before the engine was there means somebody else."""
    footprint = Footprint(nvml.gpu(pids_are_ours=False))
    engine = start(footprint)
    nvml.say(f"device {GIB} 0 0", f"process {engine.pid} {GIB}")  # nothing has run meanwhile: the look is still to come
    assert look(footprint, engine).vram_bytes is None
    engine.end()
    assert footprint.freed(engine.pid, settle_s=0).is_all


def test_a_driver_that_names_no_processes(nvml: FakeNvml, start: Start) -> None:
    """As under WSL: only what is in use in all."""
    nvml.say(f"device {GIB} 0 {NOT_SUPPORTED}")
    footprint = footprint_on(nvml)
    engine = start(footprint)
    nvml.say(f"device {2 * GIB} 0 {NOT_SUPPORTED}")
    assert look(footprint, engine).vram_bytes is None
    engine.end()
    nvml.say(f"device {GIB} 0 {NOT_SUPPORTED}")
    freed = footprint.freed(engine.pid)
    assert freed.is_all
    assert freed.devices_fell_bytes == GIB


def test_the_gpu_is_left_alone(nvml: FakeNvml, start: Start) -> None:
    """One look before, one for as many questions as come within a second, one after; none for a process that is gone,
    and none at all for an engine without a GPU."""
    footprint = footprint_on(nvml)
    engine = start(footprint)
    look(footprint, engine)
    for _ in range(20):
        footprint.usage_of(engine.pid, gpu_max_age_s=60)
    assert nvml.n_looks == 2
    engine.end()
    assert footprint.freed(engine.pid).is_all
    assert nvml.n_looks == 3
    assert footprint.usage_of(engine.pid) is None
    assert Footprint(None).freed(engine.pid).is_all
    assert nvml.n_looks == 3
