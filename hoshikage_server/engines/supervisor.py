"""The owner of the engine processes: one greenlet that hands messages to the fleet, one at a time, and keeps its time.

Public methods are messages to it. Nothing else changes an engine's state, and it never waits for anything but the next
message or the next deadline.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gevent
from gevent.event import AsyncResult
from gevent.queue import Empty, SimpleQueue

from hoshikage_server import heap
from hoshikage_server.engines import wire
from hoshikage_server.engines.energy import Spent
from hoshikage_server.engines.engine import Engine, EngineState, Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.fleet import Fleet, Loaded, Unloaded
from hoshikage_server.engines.footprint import Freed, Usage
from hoshikage_server.engines.health import Crash
from hoshikage_server.engines.nvml import Device
from hoshikage_server.engines.process import EngineEvent, EngineProcess
from hoshikage_server.errors import LaneError
from hoshikage_server.messages import Sentence, said
from hoshikage_server.registry.peaks import Peak
from hoshikage_server.settings import LiveSettings

log = logging.getLogger(__name__)

Spawn = Callable[[EngineSpec, Callable[[EngineProcess, EngineEvent], None]], EngineProcess]
State = Literal["unloaded", "loading", "ready", "generating", "unloading", "failed"]

_LATE_S = 0.001  # after a pause of the server itself, what its engines sent meanwhile is still to be read
_SETTLE_S = 1.0  # each message is handled at once
_BUSIEST_FIRST: tuple[EngineState, ...] = ("generating", "loading", "unloading", "ready")


@dataclass(frozen=True)
class EngineSnapshot:
    """One engine, for people."""

    model: str
    spec: EngineSpec
    state: EngineState
    since: float  # Unix time
    pid: int
    progress: float | None
    ready: wire.Ready | None
    load_s: float | None
    idle_until: float | None  # monotonic clock


@dataclass(frozen=True)
class Snapshot:
    """What there is to tell about all engines."""

    state: State = "unloaded"
    since: float = 0.0  # Unix time
    model: str | None = None
    engines: tuple[EngineSnapshot, ...] = ()
    n_starts: int = 0
    n_crashes: int = 0
    crashes: tuple[Crash, ...] = ()
    last_error: Sentence | None = None
    last_load: Loaded | None = None
    last_unload: Unloaded | None = None
    energy: Mapping[str, Spent] = field(default_factory=dict)


class Supervisor:
    """Gives engines to those who need them, and ends them when nobody does.

    Args:
        spawn: Starts an engine process.
        settings: Limits and times.
        idle_timeout_of: How long a model's engine stays when nobody uses it, in seconds; 0: for ever.
        peak_of: What an engine was seen to take of memory.
    """

    def __init__(
        self,
        spawn: Spawn,
        settings: LiveSettings,
        idle_timeout_of: Callable[[str], float],
        peak_of: Callable[[EngineSpec], Peak | None] = lambda spec: None,
    ) -> None:
        self._settings = settings
        self.peak_of = peak_of
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()  # bounded by the lane
        self._owner: gevent.Greenlet | None = None
        self._fleet = Fleet(lambda spec: spawn(spec, self._on_event), settings, idle_timeout_of)
        self._infos: dict[str, tuple[int, int, dict[str, Any]]] = {}  # by file; with its time and size
        settings.on_change(self._on_change)

    def lease(self, lease: Lease) -> EngineProcess:
        """Waits until an engine made of the lease's spec is ready, starting it (and ending another) where needed.

        Raises:
            EngineError: It could not be loaded.
            LaneError: There was no place for it in time.
        """
        self._send(lambda: self._fleet.want(lease))
        try:
            # The owner has its own deadlines; this one only guards against the owner itself.
            engine = lease.result.get(timeout=self._longest_wait_s())
        except gevent.Timeout:
            self.close_lease(lease)
            raise LaneError.waited(self._longest_wait_s()) from None
        except BaseException:
            self.close_lease(lease)
            raise
        assert isinstance(engine, EngineProcess)
        return engine

    def give_back(self, lease: Lease) -> None:
        """Ends the use of an engine. Twice does no harm; never switches greenlets."""
        self._send(lambda: self._fleet.give_back(lease))

    def close_lease(self, lease: Lease) -> None:
        """Ends the use of an engine, or the wish for one, and starts its idle time. As `give_back` otherwise."""
        self._send(lambda: self._fleet.close_lease(lease))

    def unload(self, model: str, timeout_s: float) -> Freed | None:
        """Ends a model's engine; returns what that gave back, or None where there was none.

        Raises:
            EngineError: It is in use.
            gevent.Timeout: It did not end in time.
        """
        result: AsyncResult[Freed | None] = AsyncResult()
        self._send(lambda: self._fleet.unload(model, result))
        freed: Freed | None = result.get(timeout=timeout_s)
        return freed

    def close(self, timeout_s: float) -> None:
        """Ends all engines for good."""
        if self._owner is None:
            return
        done: AsyncResult[None] = AsyncResult()
        self._send(lambda: self._fleet.close(done))
        done.wait(timeout_s)

    def is_awake(self, spec: EngineSpec) -> bool:
        """Whether an engine made of `spec` is there, or on its way."""
        engines = (engine for engine in self._fleet.engines if engine.spec == spec and not engine.doomed)
        return any(engine.state != "unloading" for engine in engines)

    def snapshot(self) -> Snapshot:
        """How things are."""
        now = self._fleet
        engines = tuple(_snapshot(engine, now.idle_until(engine)) for engine in now.engines)
        busiest = min(engines, key=lambda engine: _BUSIEST_FIRST.index(engine.state), default=None)
        state: State = busiest.state if busiest else "failed" if now.has_failed else "unloaded"
        return Snapshot(
            state=state,
            since=busiest.since if busiest else now.since,
            model=busiest.model if busiest else now.last_model,
            engines=engines,
            n_starts=sum(health.n_starts for health in now.health.values()),
            n_crashes=sum(health.n_crashes for health in now.health.values()),
            crashes=tuple(now.crashes),
            last_error=now.last_error,
            last_load=now.last_load,
            last_unload=now.last_unload,
            energy=dict(now.energy),
        )

    def settled(self) -> Snapshot:
        """How things are once all that was said to it has had its effect."""
        done: AsyncResult[None] = AsyncResult()
        self._send(lambda: done.set(None))
        done.wait(_SETTLE_S)
        return self.snapshot()

    def usages(self) -> dict[int, Usage]:
        """What each engine holds now, by process id. May switch greenlets."""
        processes = [engine.process for engine in self._fleet.engines]
        usages = {process.pid: process.usage() for process in processes}
        return {pid: usage for pid, usage in usages.items() if usage is not None}

    def devices(self) -> list[tuple[Device, float | None]]:
        """The GPUs, and what each has drawn since the oldest engine began, in joules. May switch greenlets.

        Nothing while no engine runs: a look would wake them.
        """
        return next((devices for engine in self._fleet.engines if (devices := engine.process.devices())), [])

    def info_of(self, spec: EngineSpec) -> dict[str, Any]:
        """What an engine told of this file (see `wire.Ready.info`), also one that has ended; else nothing."""
        ctime_ns, size_bytes, info = self._infos.get(spec.path, (0, 0, {}))
        return info if (ctime_ns, size_bytes) == (spec.ctime_ns, spec.size_bytes) else {}

    def cooling(self) -> dict[str, float]:
        """The models that will not be loaded for now, and for how many seconds."""
        now = time.monotonic()
        pauses = {model: health.pause_s(now) for model, health in self._fleet.health.items()}
        return {model: pause_s for model, pause_s in pauses.items() if pause_s}

    def _longest_wait_s(self) -> float:
        """For a place, which answers of other models may keep, and for two loads and endings."""
        limits = self._settings.now
        return limits.queue_timeout + 2 * (limits.load_timeout + limits.stop_timeout)

    def _on_event(self, process: EngineProcess, event: EngineEvent) -> None:
        self._send(lambda: self._fleet.happened(process, event))
        if isinstance(event, wire.Ready):
            spec = process.spec
            self._infos[spec.path] = (spec.ctime_ns, spec.size_bytes, event.info)
        if isinstance(event, Freed):
            heap.give_back()

    def _on_change(self) -> None:
        if self._owner is not None:
            self._send(lambda: None)  # places and deadlines are other ones now

    def _send(self, message: Callable[[], None]) -> None:
        if self._owner is None:
            self._owner = gevent.spawn(self._run)
        self._inbox.put(message)

    def _run(self) -> None:
        while True:
            try:
                deadline = self._fleet.next_deadline()
                timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                try:
                    self._inbox.get(timeout=timeout)()
                except Empty:
                    gevent.sleep(_LATE_S)
                    if self._inbox.empty():
                        self._fleet.on_time()
                self._fleet.advance()
            except Exception:
                log.exception(said("log_owner_failed"))


def _snapshot(engine: Engine, idle_until: float | None) -> EngineSnapshot:
    return EngineSnapshot(
        model=engine.model,
        spec=engine.spec,
        state=engine.state,
        since=engine.since,
        pid=engine.process.pid,
        progress=engine.progress,
        ready=engine.ready,
        load_s=engine.load_s,
        idle_until=idle_until,
    )
