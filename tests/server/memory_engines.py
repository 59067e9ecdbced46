"""A fleet whose engines are objects in memory that do what a test tells them, under a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from gevent.event import AsyncResult

from hoshikage_server.engines import wire
from hoshikage_server.engines.engine import Engine, Lease
from hoshikage_server.engines.engine_spec import Devices, EngineSpec
from hoshikage_server.engines.fleet import Fleet
from hoshikage_server.engines.footprint import Freed, Usage
from hoshikage_server.engines.memory_log import MemoryLog
from hoshikage_server.engines.nvml import Device
from hoshikage_server.engines.process import EngineEvent, Gone
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import Said
from hoshikage_server.registry.peaks import Peaks
from hoshikage_server.settings import LiveSettings, Settings

_NOWHERE = Path("/nowhere")


def settings_of(**values: object) -> Settings:
    """Settings of no machine's."""
    given: dict[str, object] = {"config_dir": _NOWHERE, "cache_dir": _NOWHERE, "model_map": _NOWHERE / "map"}
    return msgspec.convert({**given, "models_dir": (), "sleep_cache": 0, **values}, Settings)


def no_memory_log() -> MemoryLog:
    """One that knows nothing yet, and stores nothing."""
    return MemoryLog(Peaks(None, ""))


def spec_of(model: str, version: int = 0, rpc_servers: tuple[str, ...] = ()) -> EngineSpec:
    """A model's engine; each version is another content of its file."""
    devices = Devices(rpc_servers=rpc_servers)
    return EngineSpec(f"/nowhere/{model}.gguf", 4096, mtime_ns=version, devices=devices)


class MemoryProcess:
    """What the fleet takes for an engine process."""

    def __init__(self, world: World, pid: int, spec: EngineSpec) -> None:
        self._world = world
        self.pid = pid
        self.spec = spec
        self.last_heard = world.now
        self.is_loading = True
        self.n_stops = 0
        self.killed: str | None = None
        self.is_gone = False
        self.is_freed = False

    def usage(self) -> Usage | None:
        return None

    def devices(self) -> list[tuple[Device, float | None]]:
        return []

    def stop(self, sleep_s: float = 0.0) -> None:
        self._world.on_stop(self)
        self.n_stops += 1

    def kill(self, reason: str) -> None:
        self._world.on_kill(self, reason)
        self.killed = reason

    def __repr__(self) -> str:
        return f"<process {self.pid} of {self.spec.path}>"


class World:
    """The fleet and all that is around it.

    Attributes:
        now: The time.
        processes: All that were ever started.
        idle_times: How long a model's engine stays, where it is not 300 s.
        can_start: Whether the system lets processes start.
        on_start: Called after a process was started.
        on_stop, on_kill: Called before one is told to end.
    """

    def __init__(self, settings: Settings) -> None:
        self.now = 1000.0
        self.live = LiveSettings(settings)
        self.processes: list[MemoryProcess] = []
        self.can_start = True
        self.on_start: Callable[[MemoryProcess], None] = lambda process: None
        self.on_stop: Callable[[MemoryProcess], None] = lambda process: None
        self.on_kill: Callable[[MemoryProcess, str], None] = lambda process, reason: None
        self.idle_times: dict[str, float] = {}
        self.fleet = Fleet(self._start, self.live, self.idle_time_of, lambda: self.now)

    def idle_time_of(self, model: str) -> float:
        return self.idle_times.get(model, 300.0)

    def _start(self, spec: EngineSpec) -> MemoryProcess:
        if not self.can_start:
            raise OSError(24, "Too many open files")
        process = MemoryProcess(self, len(self.processes) + 1, spec)
        self.processes.append(process)
        self.on_start(process)
        return process

    @property
    def alive(self) -> list[MemoryProcess]:
        """Processes that have not ended."""
        return [process for process in self.processes if not process.is_gone]

    def engine_of(self, process: MemoryProcess) -> Engine:
        """What the fleet knows of it."""
        return next(engine for engine in self.fleet.engines if engine.process is process)

    def send(self, message: Callable[[], object]) -> None:
        """A message, as the supervisor hands it over."""
        message()
        self.fleet.advance()

    def change(self, **values: object) -> None:
        """Changes settings."""
        self.live.now = msgspec.structs.replace(self.live.now, **values)

    def passes(self, seconds: float) -> None:
        """Lets time pass, waking the fleet whenever it wants to be woken, as the supervisor does."""
        end = self.now + seconds
        n_wakes = 0
        while (at := self.fleet.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.send(self.fleet.on_time)
            n_wakes += 1
            assert n_wakes < 100, "it is woken again and again, and does nothing about it"
        self.now = end

    # ---- what processes do

    def hear(self, process: MemoryProcess, event: EngineEvent) -> None:
        """A frame arrives."""
        process.last_heard = self.now
        self.send(lambda: self.fleet.happened(process, event))

    def get_ready(self, process: MemoryProcess) -> None:
        process.is_loading = False
        self.hear(process, wire.Ready(4096, "name"))

    def fail_load(
        self, process: MemoryProcess, code: str = "model_load_failed", reason: str | Said = "a reason"
    ) -> None:
        fields = {"needed_bytes": 2, "free_bytes": 1, "reason": reason}
        self.hear(process, wire.Failed(0, code, str(reason), fields))

    def end(
        self, process: MemoryProcess, *labels: str, frees: bool = True, reason: str | Said = "signal SIGKILL"
    ) -> None:
        """It ends, for whatever reason; unless told otherwise it is known at once what that gave back."""
        process.is_gone = True
        gone = Gone(process.killed or ("exit status 0" if process.n_stops else reason), labels)
        self.send(lambda: self.fleet.happened(process, gone))
        if frees:
            self.free(process)

    def free(self, process: MemoryProcess, freed: Freed = Freed()) -> None:  # noqa: B008
        """It is known what its end gave back."""
        process.is_freed = True
        self.send(lambda: self.fleet.happened(process, freed))

    # ---- what requests do

    def want(
        self,
        model: str,
        version: int = 0,
        *,
        n_retries: int = 0,
        insists: bool = False,
        goes_on: bool = False,
        rpc_servers: tuple[str, ...] = (),
    ) -> Lease:
        """Asks for an engine."""
        spec = spec_of(model, version, rpc_servers)
        lease = Lease(model, spec, n_retries, insists=insists, goes_on=goes_on)
        self.send(lambda: self.fleet.want(lease))
        return lease

    def give_back(self, lease: Lease) -> None:
        self.send(lambda: self.fleet.give_back(lease))

    def close_lease(self, lease: Lease) -> None:
        self.send(lambda: self.fleet.close_lease(lease))

    def unload(self, model: str) -> AsyncResult[Freed | None]:
        result: AsyncResult[Freed | None] = AsyncResult()
        self.send(lambda: self.fleet.unload(model, result))
        return result

    def close(self) -> AsyncResult[None]:
        done: AsyncResult[None] = AsyncResult()
        self.send(lambda: self.fleet.close(done))
        return done


# ---- what tests ask


def error_of(lease: Lease) -> EngineError:
    error = lease.result.exception
    assert isinstance(error, EngineError)
    return error


def is_waiting(lease: Lease) -> bool:
    return not lease.result.ready()


def loaded(world: World, model: str, version: int = 0) -> MemoryProcess:
    """An engine that nobody uses."""
    lease = world.want(model, version)
    process: MemoryProcess = world.processes[-1]
    world.get_ready(process)
    assert lease.result.successful()
    world.close_lease(lease)
    return process
