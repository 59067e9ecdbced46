"""Which engines run, for whom, and what happens next: the policy of the supervisor, without waiting.

    loading -> ready <-> generating -> unloading -> gone          a model without an engine is unloaded, or failed

Messages come in one at a time, each followed by `advance`: grant, start, end, refuse, or nothing. The clock and the
function that starts engines are handed in, and nothing here waits; so tests can be everywhere between two steps.

A lease that needs an engine of its own waits for a place (`max_loaded_models`); engines that nobody uses make place,
the one that has been idle longest first. Leases are served in the order they came (but those that go on with an answer
come first): one that waits for a place is not passed by others that would take it, or that would keep an engine busy
which has to go.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gevent.event import AsyncResult

from hoshikage_server.engines import wire
from hoshikage_server.engines.energy import Spent
from hoshikage_server.engines.engine import Engine, EngineState, Lease, Process
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Freed
from hoshikage_server.engines.health import Crash, Health, hint, is_short_of_memory
from hoshikage_server.engines.process import EngineEvent, Gone
from hoshikage_server.errors import EngineError, LaneError, ServerError, is_out_of_memory
from hoshikage_server.messages import Sentence, said, told_by_system
from hoshikage_server.settings import LiveSettings, Settings

log = logging.getLogger(__name__)

_CRASHES_TOLD = 10
_SLEEP_SHARE = 0.7  # of the time that an engine may take to end, it may use so much to keep what it has computed


@dataclass(frozen=True)
class Loaded:
    """The last engine that became ready."""

    model: str
    at: float  # Unix time
    load_s: float


@dataclass(frozen=True)
class Unloaded:
    """The last engine that ended as it should, and what that gave back."""

    model: str
    at: float  # Unix time
    freed: Freed


Spawn = Callable[[EngineSpec], Process]


class Fleet:
    """Keeps the engines that are asked for.

    Args:
        spawn: Starts an engine process; OSError if that is impossible.
        settings: Limits and times.
        idle_timeout_of: How long a model's engine stays when nobody uses it, in seconds; 0: for ever.
        clock: Monotonic.
    """

    def __init__(
        self,
        spawn: Spawn,
        settings: LiveSettings,
        idle_timeout_of: Callable[[str], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spawn = spawn
        self._settings = settings
        self._idle_timeout_of = idle_timeout_of
        self._clock = clock
        self._closing: AsyncResult[None] | None = None
        self._unloads: list[tuple[Engine, AsyncResult[Freed | None]]] = []
        self._buried: dict[Process, Engine] = {}  # until it is known what was freed
        self.engines: list[Engine] = []
        self.waiting: deque[Lease] = deque()
        self.health: dict[str, Health] = {}
        self.crashes: deque[Crash] = deque(maxlen=_CRASHES_TOLD)
        self.energy: dict[str, Spent] = {}  # by model, since the server started
        self.last_load: Loaded | None = None
        self.last_unload: Unloaded | None = None
        self.last_model: str | None = None
        self.last_error: Sentence | None = None
        self.has_failed = False  # how the last engine ended
        self.since = time.time()

    @property
    def _limits(self) -> Settings:
        return self._settings.now

    # ---- messages

    def want(self, lease: Lease) -> None:
        """Somebody needs an engine; `lease.result` tells."""
        lease.wanted_at = self._clock()
        if lease.insists:
            self._health(lease.model).forgive()
        n_before = sum(other.goes_on for other in self.waiting) if lease.goes_on else len(self.waiting)
        self.waiting.insert(n_before, lease)

    def give_back(self, lease: Lease) -> None:
        """It computes no longer, or does not wait any more."""
        if lease in self.waiting:
            self.waiting.remove(lease)
        engine = lease.engine
        if engine is not None and lease.is_used:
            lease.is_used = False
            engine.n_users -= 1
            self._note_idle(engine)

    def close_lease(self, lease: Lease) -> None:
        """Its last byte is out."""
        self.give_back(lease)
        engine = lease.engine
        if engine is not None and lease.is_open:
            lease.is_open = False
            engine.n_open -= 1
            self._note_idle(engine)

    def unload(self, model: str, result: AsyncResult[Freed | None]) -> None:
        """Ends a model's engine. The result is what that freed, None where there was none, or model_in_use."""
        engines = [engine for engine in self.engines if engine.model == model]
        if any(engine.n_users or self._is_wanted(engine) for engine in engines):
            result.set_exception(EngineError("model_in_use", model=model))
            return
        if not engines:
            result.set(None)
            return
        for engine in engines:
            self._end(engine)
        self._unloads.append((engines[-1], result))

    def close(self, done: AsyncResult[None]) -> None:
        """Ends all engines for good."""
        self._closing = done

    def happened(self, process: Process, event: EngineEvent) -> None:
        """An engine process says something, or has ended."""
        if isinstance(event, Freed):
            self._on_freed(process, event)
            return
        engine = next((engine for engine in self.engines if engine.process is process), None)
        if engine is None:
            return
        if isinstance(event, wire.Loading):
            engine.progress = event.progress
        elif isinstance(event, Spent):
            before = self.energy.get(engine.model)
            self.energy[engine.model] = event if before is None else before + event
        elif isinstance(event, wire.Ready):
            self._on_ready(engine, event)
        elif isinstance(event, wire.Failed):
            self._on_failed_load(engine, EngineError.reported(event.code, event.message, event.fields))
        else:
            self._on_gone(engine, event)

    # ---- time

    def next_deadline(self) -> float | None:
        """When `on_time` has something to do."""
        times = [self._deadline_of(engine) for engine in self.engines]
        times += [lease.wanted_at + self._limits.queue_timeout for lease in self._without_place()]
        return min((at for at in times if at is not None), default=None)

    def on_time(self) -> None:
        """Does what deadlines ask for."""
        now = self._clock()
        for lease in self._without_place():
            if now >= lease.wanted_at + self._limits.queue_timeout:
                self._refuse(lease, LaneError.waited(self._limits.queue_timeout))
        for engine in list(self.engines):
            at = self._deadline_of(engine)
            if at is None or now < at:
                continue
            if engine.state == "unloading":
                log.warning(said("log_engine_late", pid=engine.process.pid))
                engine.deadline = None
                engine.process.kill(said("engine_did_not_end"))
            elif engine.state == "loading" and engine.deadline is not None and now >= engine.deadline:
                seconds = f"{self._limits.load_timeout:g}"
                late = EngineError("load_timeout", seconds=seconds, hint=hint(engine.spec, "hint_slow_load"))
                self._on_failed_load(engine, late)
            elif engine.state == "loading" or engine.n_users:
                self._on_stall(engine)
            else:
                log.info(said("log_engine_idle", pid=engine.process.pid, label=engine.label))
                self._end(engine)

    def idle_until(self, engine: Engine) -> float | None:
        """When an engine will be ended for being idle, as things are."""
        return engine.idle_until(self._idle_timeout_of(engine.used_as))

    def _deadline_of(self, engine: Engine) -> float | None:
        return engine.next_deadline(self._limits.stall_timeout, self._idle_timeout_of(engine.used_as))

    def _without_place(self) -> list[Lease]:
        """Leases that wait for others to make place, which has no other deadline."""
        loaded = [engine.spec for engine in self.engines]  # also those that were killed: their ends are yet to come
        return [lease for lease in self.waiting if lease.spec not in loaded]

    # ---- what follows

    def advance(self) -> None:
        """Grants, starts, ends and refuses what the state asks for. Call it after each message."""
        if self._closing is not None:
            self._advance_closing(self._closing)
            return
        for lease in list(self.waiting):
            engine = self._engine_for(lease.spec)
            if engine is None:
                if not self._start_or_wait(lease):
                    return
            elif engine.state in ("ready", "generating"):
                self._grant(lease, engine)

    def _start_or_wait(self, lease: Lease) -> bool:
        """Whether those behind this lease may be looked at."""
        refusal = self._health(lease.model).refusal(lease.model, lease.spec, self._clock())
        if refusal is not None:
            self._refuse(lease, refusal)
            return True
        # The same model made otherwise (its file was replaced, a setting changed) is of no use any more.
        outdated = [engine for engine in self.engines if engine.model == lease.model and engine.is_idle()]
        rivals = [engine for engine in self.engines if _share_a_worker(engine.spec, lease.spec)]
        if outdated or rivals or len(self.engines) >= self._limits.max_loaded_models:
            in_the_way = outdated + [engine for engine in rivals if engine.is_idle()]
            victim = next(iter(in_the_way), None) if outdated or rivals else self._victim()
            if victim is not None:
                self._end(victim)
            return False
        if self._is_any_ending():
            return False  # its memory will be needed
        self._start(lease)
        return True

    def _victim(self) -> Engine | None:
        """Who has to make place: nobody, while somebody does already or all are in use."""
        if self._is_any_ending():
            return None
        unwanted = [engine for engine in self.engines if engine.state == "loading" and not self._is_wanted(engine)]
        return next(iter(unwanted), None) or self._longest_idle()

    def _longest_idle(self) -> Engine | None:
        idle = [engine for engine in self.engines if engine.is_idle()]
        return min(idle, key=lambda engine: engine.idle_since, default=None)

    def _start(self, lease: Lease) -> None:
        health = self._health(lease.model)
        try:
            process = self._spawn(lease.spec)
        except OSError as error:  # no process, no descriptors: nothing that speaks against trying again at once
            reason = told_by_system(error)
            self._note_failure(reason)
            self._refuse(lease, EngineError("model_load_failed", model=lease.model, reason=reason))
            return
        except Exception as error:  # a fault of ours: whoever waits is told all the same
            log.exception(said("log_loading_failed"))
            reason = said("reason_load_unexpected", words=type(error).__name__)
            self._note_failure(reason)
            self._refuse(lease, EngineError("model_load_failed", model=lease.model, reason=reason))
            return
        now = self._clock()
        engine = Engine(process, lease.model, lease.spec, now, since=time.time(), used_as=lease.model)
        engine.deadline = now + self._limits.load_timeout
        self.engines.append(engine)
        log.info(said("log_engine_loads", pid=process.pid, label=engine.label))
        health.n_starts += 1
        self.last_model = lease.model

    def _grant(self, lease: Lease, engine: Engine) -> None:
        self.waiting.remove(lease)
        if engine.n_users == 0:
            engine.busy_since = self._clock()
        engine.n_users += 1
        engine.n_open += 1
        engine.used_as = lease.model
        lease.engine, lease.is_used, lease.is_open = engine, True, True
        self.last_model = lease.model
        self._enter(engine, "generating")
        lease.result.set(engine.process)

    def _refuse(self, lease: Lease, error: ServerError) -> None:
        self.waiting.remove(lease)
        error.values.setdefault("model", lease.model)
        lease.result.set_exception(error)

    def _note_idle(self, engine: Engine) -> None:
        engine.idle_since = self._clock()
        if engine.n_users == 0 and engine.state == "generating":
            self._enter(engine, "ready")

    def _end(self, engine: Engine) -> None:
        if engine.state != "unloading" and not engine.doomed:
            engine.deadline = self._clock() + self._limits.stop_timeout
            self._enter(engine, "unloading")
            # When the server ends, all is forgotten.
            engine.process.stop(0.0 if self._closing is not None else _SLEEP_SHARE * self._limits.stop_timeout)

    def _enter(self, engine: Engine, state: EngineState) -> None:
        if engine.state != state:
            engine.state, engine.since = state, time.time()

    # ---- what happens to engines

    def _on_ready(self, engine: Engine, ready: wire.Ready) -> None:
        if engine.state != "loading":
            return
        engine.ready, engine.progress, engine.deadline = ready, None, None
        engine.idle_since = self._clock()
        engine.load_s = engine.idle_since - engine.began
        self.last_load = Loaded(engine.model, time.time(), engine.load_s)
        seconds = f"{engine.load_s:.2f}"
        log.info(said("log_engine_ready", pid=engine.process.pid, label=engine.label, seconds=seconds))
        if ready.degraded:
            log.warning(said("log_engine_degraded", model=engine.model, steps=", ".join(ready.degraded)))
        if ready.no_gpu is not None:
            log.warning(said("log_engine_no_gpu", model=engine.model, reason=ready.no_gpu))
        self._health(engine.model).on_loaded()
        self.last_error = None
        self._enter(engine, "ready")

    def _on_failed_load(self, engine: Engine, error: EngineError) -> None:
        """Ends it, and tells everybody who waits for it unless there is another way."""
        if engine.state != "loading":
            return
        engine.doomed = said("engine_load_failed", reason=error)
        engine.process.kill(engine.doomed)
        self._enter(engine, "unloading")
        if not (is_short_of_memory(error) and self._end_another(engine)):
            self._fail_load(engine, error)

    def _end_another(self, engine: Engine) -> bool:
        """Ends an idle engine for the memory that this one lacks, if there is any."""
        idle = self._longest_idle()
        if idle is not None:
            log.info(said("log_not_beside", label=engine.label, other=idle.label))
            self._end(idle)
        return idle is not None

    def _fail_load(self, engine: Engine, error: EngineError) -> None:
        error.values.setdefault("model", engine.model)
        told = self._health(engine.model).on_failed_load(engine.spec, error, self._clock(), self._limits)
        self._note_failure(error)
        waiting = [lease for lease in self.waiting if lease.spec == engine.spec]
        sentence = said("log_load_failed", pid=engine.process.pid, label=engine.label, reason=error)
        log.log(_level(len(waiting)), sentence)
        for lease in waiting:
            self._refuse(lease, told)

    def _on_stall(self, engine: Engine) -> None:
        """Kills it, and its end is a crash."""
        engine.doomed = said("engine_stalled", seconds=f"{self._limits.stall_timeout:g}")
        engine.process.kill(engine.doomed)

    def _on_gone(self, engine: Engine, event: Gone) -> None:
        self.engines.remove(engine)
        for lease in self.waiting:
            if lease.spec == engine.spec:
                lease.wanted_at = self._clock()  # only now it waits for a place again
        if engine.ready is not None:
            for health in self.health.values():
                health.on_memory_freed()
        self._buried[engine.process] = engine
        if engine.state == "unloading":
            log.info(said("log_engine_ended", pid=engine.process.pid, label=engine.label))
            self.has_failed = engine.doomed is not None
        else:
            self._on_crash(engine, event)
        self.since = time.time()

    def _on_crash(self, engine: Engine, event: Gone) -> None:
        health, now = self._health(engine.model), self._clock()
        health.on_crash(now, self._limits)
        self.crashes.append(Crash(time.time(), engine.model, event.reason))
        self._note_failure(said("engine_ended_with", reason=event.reason))
        log.warning(
            said(
                "log_engine_died",
                pid=engine.process.pid,
                reason=event.reason,
                label=engine.label,
                requests=", ".join(event.labels) or said("none"),
                words=said("log_last_words", words=" | ".join(event.last_words)) if event.last_words else "",
            )
        )
        if is_out_of_memory(event.reason):
            self._end_another(engine)
        if engine.state != "loading":
            return
        for lease in [lease for lease in self.waiting if lease.spec == engine.spec]:
            if lease.n_retries:
                lease.n_retries -= 1
            elif is_out_of_memory(event.reason):
                self._refuse(lease, EngineError.died(event.reason))
            else:  # no pause before the next load: too many deaths lead to one anyway
                self._refuse(
                    lease, EngineError("model_load_failed", reason=said("engine_ended_with", reason=event.reason))
                )

    def _on_freed(self, process: Process, freed: Freed) -> None:
        engine = self._buried.pop(process, None)
        if engine is None:
            return
        level = logging.INFO if freed.is_all else logging.WARNING
        log.log(level, said("log_engine_freed", pid=process.pid, freed=freed))
        if engine.doomed is None and engine.state == "unloading":
            self.last_unload = Unloaded(engine.model, time.time(), freed)
        for unload in [unload for unload in self._unloads if unload[0] is engine]:
            self._unloads.remove(unload)
            unload[1].set(freed)

    def _note_failure(self, reason: Sentence) -> None:
        self.has_failed, self.last_error, self.since = True, reason, time.time()

    def _advance_closing(self, done: AsyncResult[None]) -> None:
        while self.waiting:
            self._refuse(self.waiting[0], EngineError("shutting_down"))
        for engine in self.engines:
            self._end(engine)
        if not self.engines:
            done.set(None)

    def _is_any_ending(self) -> bool:
        return any(engine.state == "unloading" or engine.doomed for engine in self.engines)

    def _engine_for(self, spec: EngineSpec) -> Engine | None:
        return next((engine for engine in self.engines if engine.spec == spec and not engine.doomed), None)

    def _is_wanted(self, engine: Engine) -> bool:
        return any(lease.spec == engine.spec for lease in self.waiting)

    def _health(self, model: str) -> Health:
        return self.health.setdefault(model, Health())


def _share_a_worker(one: EngineSpec, other: EngineSpec) -> bool:
    """Whether they need the same RPC worker, which serves one model at a time."""
    return not set(one.devices.rpc_servers).isdisjoint(other.devices.rpc_servers)


def _level(n_told: int) -> int:
    """Of a failure's log line: each request that is told of it logs an error of its own."""
    return logging.INFO if n_told else logging.ERROR
