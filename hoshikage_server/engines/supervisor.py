"""The owner of the engine process: one greenlet that alone starts, ends and counts.

    unloaded -> loading -> ready <-> generating -> unloading -> unloaded          failed: the last load or engine broke

Public methods are messages to the owner. It takes one message at a time, changes its state, and then asks `_advance`
what follows from it; nothing else changes state. A load or an ending is waited for by its messages (or by a deadline),
never by blocking the owner.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import gevent
from gevent.event import AsyncResult
from gevent.queue import Empty, SimpleQueue

from hoshikage_server.engines import wire
from hoshikage_server.engines.process import EngineEvent, EngineProcess, Gone
from hoshikage_server.errors import EngineError

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "generating", "unloading", "failed"]
Spawn = Callable[[wire.EngineSpec, Callable[[EngineProcess, EngineEvent], None]], EngineProcess]


@dataclass(frozen=True)
class Snapshot:
    """What /v1/status tells about the engine."""

    state: State = "unloaded"
    since: float = 0.0  # Unix time
    model: str | None = None
    pid: int | None = None
    progress: float | None = None
    ready: wire.Ready | None = None
    load_s: float | None = None
    n_starts: int = 0
    n_crashes: int = 0
    last_error: str | None = None


class Lease:
    """A wish for an engine, and then the right to use it until it is returned."""

    def __init__(self, model: str, spec: wire.EngineSpec) -> None:
        self.model = model
        self.spec = spec
        self.result: AsyncResult[EngineProcess] = AsyncResult()
        self.is_returned = False

    @property
    def engine(self) -> EngineProcess | None:
        """The engine, once granted."""
        return self.result.value if self.result.successful() else None


@dataclass(frozen=True)
class _Wanted:
    lease: Lease


@dataclass(frozen=True)
class _Returned:
    lease: Lease


@dataclass(frozen=True)
class _Stalled:
    engine: EngineProcess


@dataclass(frozen=True)
class _Happened:
    engine: EngineProcess
    event: EngineEvent


@dataclass(frozen=True)
class _Closing:
    done: AsyncResult[None]


_Message = _Wanted | _Returned | _Stalled | _Happened | _Closing


class Supervisor:
    """Keeps at most one engine, the one that is asked for.

    Args:
        spawn: Starts an engine process.
        load_timeout_s: After this a load has failed.
        stop_timeout_s: After this an engine that was told to end is killed.
    """

    def __init__(self, spawn: Spawn, *, load_timeout_s: float, stop_timeout_s: float) -> None:
        self._spawn = spawn
        self._load_timeout_s = load_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._inbox: SimpleQueue[_Message] = SimpleQueue()  # bounded by the lane
        self._owner: gevent.Greenlet | None = None
        self.snapshot = Snapshot(since=time.time())
        # Below: the owner's alone.
        self._state: State = "unloaded"
        self._engine: EngineProcess | None = None
        self._model: str | None = None
        self._waiting: deque[Lease] = deque()
        self._n_users = 0
        self._deadline: float | None = None  # of the load or the ending that is under way
        self._load_began = 0.0
        self._after_end: State = "unloaded"  # where an unloading leads
        self._closing: AsyncResult[None] | None = None

    def lease(self, model: str, spec: wire.EngineSpec) -> Lease:
        """Waits until an engine made of `spec` is ready, starting it (and ending another) where needed.

        Raises:
            EngineError: It could not be loaded.
        """
        lease = Lease(model, spec)
        self._send(_Wanted(lease))
        try:
            # The owner has its own deadlines; this one only guards against the owner itself.
            lease.result.get(timeout=2 * (self._load_timeout_s + self._stop_timeout_s))
        except BaseException as error:
            self.give_back(lease)
            if isinstance(error, gevent.Timeout):
                raise EngineError("load_timeout", model=model, seconds=f"{self._load_timeout_s:g}") from None
            raise
        return lease

    def give_back(self, lease: Lease) -> None:
        """Ends the use of an engine, or the wish for one. Twice does no harm; never switches greenlets."""
        if not lease.is_returned:
            lease.is_returned = True
            self._send(_Returned(lease))

    def report_stall(self, engine: EngineProcess) -> None:
        """Says that an engine gives no sign of life; it is killed."""
        self._send(_Stalled(engine))

    def close(self, timeout_s: float) -> None:
        """Ends the engine for good."""
        if self._owner is None:
            return
        done: AsyncResult[None] = AsyncResult()
        self._send(_Closing(done))
        done.wait(timeout_s)

    def _send(self, message: _Message) -> None:
        if self._owner is None:
            self._owner = gevent.spawn(self._run)
        self._inbox.put(message)

    # ---- the owner

    def _run(self) -> None:
        while True:
            try:
                timeout = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
                try:
                    self._handle(self._inbox.get(timeout=timeout))
                except Empty:
                    self._on_deadline()
                self._advance()
            except Exception:
                log.exception("the engine's owner failed to handle a message")
            self._publish()

    def _handle(self, message: _Message) -> None:
        if isinstance(message, _Wanted):
            self._waiting.append(message.lease)
        elif isinstance(message, _Returned):
            self._on_returned(message.lease)
        elif isinstance(message, _Stalled):
            if message.engine is self._engine:
                self._on_stalled(message.engine)
        elif isinstance(message, _Closing):
            self._closing = message.done
        elif message.engine is self._engine:
            self._on_event(message.engine, message.event)

    def _on_returned(self, lease: Lease) -> None:
        if lease in self._waiting:
            self._waiting.remove(lease)
        elif lease.engine is not None and lease.engine is self._engine:
            self._n_users -= 1

    def _on_stalled(self, engine: EngineProcess) -> None:
        """Kills it. It serves nobody from this moment on, although its end is still to come."""
        log.info("engine %d stalled and is killed: %s", engine.pid, self._model)
        engine.kill()
        self._deadline = None
        if self._state == "unloading":
            return
        self._after_end = "failed"
        self._enter("unloading", n_crashes=self.snapshot.n_crashes + 1, last_error="the engine process stalled")

    def _on_event(self, engine: EngineProcess, event: EngineEvent) -> None:
        if isinstance(event, wire.Loading):
            self._publish(progress=event.progress)
        elif isinstance(event, wire.Ready):
            if self._state == "loading":
                load_s = time.monotonic() - self._load_began
                log.info("engine %d is ready: %s, %.2f s", engine.pid, self._model, load_s)
                self._deadline = None
                self._enter("ready", ready=event, load_s=load_s, progress=None, last_error=None)
        elif isinstance(event, wire.Failed):
            self._fail_load(engine, EngineError.reported(event.code, event.message, event.fields))
        else:
            self._on_gone(engine, event)

    def _fail_load(self, engine: EngineProcess, error: EngineError) -> None:
        """Tells everybody who waits for this engine, and ends it. What it holds is free once it is gone."""
        self._fail_waiting(engine, error)
        engine.kill()
        self._after_end = "failed"
        self._deadline = None
        self._enter("unloading", progress=None, last_error=str(error))

    def _fail_waiting(self, engine: EngineProcess, error: EngineError) -> None:
        error.values.setdefault("model", self._model)
        told = [lease for lease in self._waiting if lease.spec == engine.spec]
        log.log(_level(len(told)), "engine %d could not load %s: %s", engine.pid, self._model, error)
        for lease in told:
            self._waiting.remove(lease)
            lease.result.set_exception(error)

    def _on_gone(self, engine: EngineProcess, event: Gone) -> None:
        self._engine = None
        self._n_users = 0
        self._deadline = None
        if self._state == "unloading":
            log.info("engine %d has ended: %s", engine.pid, self._model)
            self._enter(self._after_end, pid=None, ready=None)
            return
        error = EngineError("engine_crashed", reason=event.reason)
        if self._state == "loading":
            error = EngineError("model_load_failed", reason=f"engine: {event.reason}")
            self._fail_waiting(engine, error)
        else:
            level = _level(event.n_answers)
            log.log(level, "engine %d died: %s (%s)", engine.pid, event.reason, self._model)
        crashes = self.snapshot.n_crashes + 1
        self._enter("failed", pid=None, ready=None, progress=None, n_crashes=crashes, last_error=str(error))

    def _on_deadline(self) -> None:
        self._deadline = None
        engine = self._engine
        if engine is None:
            return
        if self._state == "loading":
            self._fail_load(engine, EngineError("load_timeout", seconds=f"{self._load_timeout_s:g}"))
        elif self._state == "unloading":
            log.warning("engine %d did not end in time and is killed", engine.pid)
            engine.kill()

    def _advance(self) -> None:
        """What follows from the state: grant, start, end, or nothing."""
        if self._closing is not None:
            self._advance_closing(self._closing)
            return
        while self._waiting:
            head = self._waiting[0]
            if self._engine is None:
                self._start(head)
            elif self._engine.spec != head.spec:
                # A load nobody waits for any more is given up, an engine in use is waited for.
                if self._n_users == 0 and self._state != "unloading":
                    self._stop(self._engine)
                return
            elif self._state in ("ready", "generating"):
                self._waiting.popleft()
                self._n_users += 1
                head.result.set(self._engine)
                continue
            else:
                return
        if self._state in ("ready", "generating"):
            self._enter("generating" if self._n_users else "ready")

    def _advance_closing(self, done: AsyncResult[None]) -> None:
        while self._waiting:
            self._waiting.popleft().result.set_exception(EngineError("shutting_down"))
        if self._engine is None:
            done.set(None)
        elif self._state != "unloading":
            self._stop(self._engine)

    def _start(self, lease: Lease) -> None:
        self._model = lease.model
        self._load_began = time.monotonic()
        try:
            self._engine = self._spawn(lease.spec, lambda engine, event: self._send(_Happened(engine, event)))
        except OSError as error:  # no process, no descriptors
            self._waiting.popleft()
            lease.result.set_exception(EngineError("model_load_failed", model=lease.model, reason=str(error)))
            self._enter("failed", last_error=str(error), model=lease.model)
            return
        log.info("engine %d loads %s", self._engine.pid, lease.model)
        self._deadline = self._load_began + self._load_timeout_s
        starts = self.snapshot.n_starts + 1
        self._enter("loading", model=lease.model, pid=self._engine.pid, progress=0.0, ready=None, n_starts=starts)

    def _stop(self, engine: EngineProcess) -> None:
        engine.send(wire.Stop())
        self._after_end = "unloaded"
        self._deadline = time.monotonic() + self._stop_timeout_s
        self._enter("unloading")

    def _enter(self, state: State, **changes: object) -> None:
        if state != self._state:
            self._state = state
            changes["since"] = time.time()
        self._publish(**changes)

    def _publish(self, **changes: object) -> None:
        if changes or self.snapshot.state != self._state:
            values = {**self.snapshot.__dict__, "state": self._state, **changes}
            self.snapshot = Snapshot(**values)


def _level(n_told: int) -> int:
    """Of a failure's log line: each request that is told of it logs an error of its own."""
    return logging.INFO if n_told else logging.ERROR
