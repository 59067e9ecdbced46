"""The fleet among engines, clients and a machine that may do anything at any moment."""

from __future__ import annotations

from typing import TypeVar

import hypothesis
from gevent.event import AsyncResult
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from memory_engines import MemoryProcess, World, settings_of, spec_of

from hoshikage_server.engines import wire
from hoshikage_server.engines.engine import Engine, Lease
from hoshikage_server.engines.footprint import Freed, Usage
from hoshikage_server.engines.processes import Process as Survivor
from hoshikage_server.errors import ServerError

T = TypeVar("T")

MODELS = ("a", "b", "c")
STAYS_FOR_EVER = 0.0
COME_BACK = {"model_failed", "model_load_failed", "insufficient_memory", "load_timeout", "queue_timeout"}
REFUSALS = {*COME_BACK, "shutting_down"}

models = st.sampled_from(MODELS)
anyone = st.integers(0, 99)  # of however many there are
idle_times = st.sampled_from([STAYS_FOR_EVER, 5.0, 60.0])
load_errors = st.sampled_from(["model_load_failed", "insufficient_memory"])


def one_of(many: list[T], which: int) -> T:
    return many[which % len(many)]


class FleetMachine(RuleBasedStateMachine):
    """Rules are what may happen; invariants hold after each; at the end everybody behaves, and all must end well."""

    def __init__(self) -> None:
        super().__init__()
        settings = settings_of(
            stall_timeout=20.0,
            load_timeout=30.0,
            stop_timeout=5.0,
            crash_limit=2,
            crash_window=30.0,
            crash_cooling=30.0,
        )
        self.world = World(settings)
        self.world.on_start, self.world.on_stop, self.world.on_kill = self.on_start, self.on_stop, self.on_kill
        self.world.idle_times = dict.fromkeys(MODELS, 5.0)
        self.fleet = self.world.fleet
        self.leases: list[Lease] = []
        self.withdrawn: set[Lease] = set()
        self.granted: set[Lease] = set()
        self.is_only_time = False
        self.versions = dict.fromkeys(MODELS, 0)
        self.unloads: list[AsyncResult[Freed | None]] = []
        self.closed: AsyncResult[None] | None = None

    # ---- what must be true at the moment when a process is started or told to end

    def on_start(self, process: MemoryProcess) -> None:
        assert self.closed is None, "nothing starts in a fleet that is closed"
        assert len(self.world.alive) <= self.world.live.now.max_loaded_models

    def on_stop(self, process: MemoryProcess) -> None:
        assert not process.n_stops
        assert self.closed is not None or not self.users_of(process), "in use, and told to end"
        if self.is_only_time and not self.fleet.waiting:
            assert not self.world.engine_of(process).n_open, "it is not idle while its answer is still being read"

    def on_kill(self, process: MemoryProcess, reason: str) -> None:
        is_silent = self.world.now >= process.last_heard + self.world.live.now.stall_timeout
        assert self.closed is not None or is_silent or not self.users_of(process), "in use, and killed"

    def users_of(self, process: MemoryProcess) -> list[Lease]:
        return [lease for lease in self.leases if lease.is_used and lease.engine and lease.engine.process is process]

    # ---- what requests do

    @rule(
        model=models,
        is_old=st.booleans(),
        n_retries=st.integers(0, 1),
        insists=st.booleans(),
        goes_on=st.booleans(),
    )
    def somebody_wants(self, model: str, is_old: bool, n_retries: int, insists: bool, goes_on: bool) -> None:
        version = max(self.versions[model] - is_old, 0)  # who looked before the file was replaced asks for the old one
        lease = Lease(model, spec_of(model, version), n_retries, insists=insists and not is_old, goes_on=goes_on)
        self.leases.append(lease)
        self.world.send(lambda: self.fleet.want(lease))

    @rule(model=models, idle_time_s=idle_times)
    def idle_times_change(self, model: str, idle_time_s: float) -> None:
        self.world.idle_times[model] = idle_time_s
        self.world.send(lambda: None)

    @precondition(lambda self: self.leases)
    @rule(which=anyone)
    def somebody_gives_back(self, which: int) -> None:
        lease = one_of(self.leases, which)
        self.withdraw(lease)
        self.world.give_back(lease)

    @precondition(lambda self: self.leases)
    @rule(which=anyone)
    def somebody_leaves(self, which: int) -> None:
        lease = one_of(self.leases, which)
        self.withdraw(lease)
        self.world.close_lease(lease)

    def withdraw(self, lease: Lease) -> None:
        if not lease.result.ready():
            self.withdrawn.add(lease)

    @rule(model=models)
    def somebody_unloads(self, model: str) -> None:
        self.unloads.append(self.world.unload(model))

    @precondition(lambda self: self.closed is None)
    @rule(is_meant=st.sampled_from([False] * 9 + [True]))
    def server_ends(self, is_meant: bool) -> None:
        if is_meant:
            self.close()

    def close(self) -> None:
        self.closed = AsyncResult()
        self.world.send(lambda: self.fleet.close(self.closed))

    # ---- what processes do

    @precondition(lambda self: self.world.alive)
    @rule(which=anyone, progress=st.floats(0, 1))
    def a_load_goes_on(self, which: int, progress: float) -> None:
        process = one_of(self.world.alive, which)
        if process.is_loading:
            self.world.hear(process, wire.Loading(progress))

    @precondition(lambda self: self.world.alive)
    @rule(which=anyone)
    def a_load_is_done(self, which: int) -> None:
        process = one_of(self.world.alive, which)
        if process.is_loading:
            self.world.get_ready(process)

    @precondition(lambda self: self.world.alive)
    @rule(which=anyone, code=load_errors)
    def a_load_fails(self, which: int, code: str) -> None:
        process = one_of(self.world.alive, which)
        if process.is_loading:
            self.world.fail_load(process, code)

    @precondition(lambda self: self.world.alive)
    @rule(which=anyone, frees=st.booleans())
    def an_engine_ends(self, which: int, frees: bool) -> None:
        """Told to, killed, or by itself."""
        process = one_of(self.world.alive, which)
        patient = [
            lease
            for lease in self.fleet.waiting
            if lease.spec == process.spec and lease.n_retries and process.is_loading
        ]
        is_crash = not process.n_stops and not process.killed
        self.world.end(process, frees=frees)
        if is_crash and self.closed is None:
            for lease in patient:
                is_refused_again = code_of(lease) == "model_failed" or is_unspawnable(lease)
                assert lease in self.fleet.waiting or is_refused_again, "it may be tried once more"

    @precondition(lambda self: self.dead())
    @rule(which=anyone, is_all=st.booleans())
    def the_end_is_looked_at(self, which: int, is_all: bool) -> None:
        stays = Freed() if is_all else Freed(left=Usage(1, 1), survivors=(Survivor(9, "x", 1, 1),))
        self.world.free(one_of(self.dead(), which), stays)

    def dead(self) -> list[MemoryProcess]:
        """Ended, and nobody knows yet what that gave back."""
        return [process for process in self.world.processes if process.is_gone and not process.is_freed]

    @precondition(lambda self: self.world.alive)
    @rule(which=anyone)
    def a_sign_of_life(self, which: int) -> None:
        one_of(self.world.alive, which).last_heard = self.world.now

    # ---- what happens around them

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 10.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.is_only_time = True
        self.world.passes(seconds)
        self.is_only_time = False

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def the_server_is_late(self, seconds: float) -> None:
        """The whole machine stood still: messages are handled before the deadlines that passed."""
        self.world.now += seconds

    @rule(model=models)
    def a_file_is_replaced(self, model: str) -> None:
        self.versions[model] += 1

    @rule(
        max_loaded_models=st.integers(1, 3),
        crash_limit=st.integers(1, 4),
        load_backoff=st.sampled_from([1.0, 10.0]),
        stall_timeout=st.sampled_from([2.0, 20.0]),
        queue_timeout=st.sampled_from([3.0, 180.0]),
    )
    def settings_change(self, **values: object) -> None:
        self.world.send(lambda: self.world.change(**values))

    @rule()
    def processes_are_scarce(self) -> None:
        self.world.can_start = not self.world.can_start

    # ---- what is true always

    @invariant()
    def everybody_is_answered_or_waits(self) -> None:
        for lease in self.leases:
            is_waiting = lease in self.fleet.waiting
            assert is_waiting + lease.result.ready() + (lease in self.withdrawn) == 1
            if lease.result.ready() and not lease.result.successful():
                assert code_of(lease) in REFUSALS
                assert lease.engine is None
            elif lease.result.ready() and lease not in self.granted:
                self.granted.add(lease)
                assert lease.engine is not None
                assert not lease.engine.doomed

    @invariant()
    def who_is_told_to_come_back_is_told_when(self) -> None:
        for lease in self.leases:
            if lease.result.ready() and code_of(lease) in COME_BACK and not may_try_at_once(lease):
                assert int(lease.result.exception.headers["Retry-After"]) >= 1

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """The head of the queue waits for its engine, or for a place that is being made or cannot be made."""
        if not self.fleet.waiting:
            return
        assert self.closed is None
        engines = self.fleet.engines
        own = self.engine_for(self.fleet.waiting[0])
        if own is not None:
            assert own.state in ("loading", "unloading")
        elif not any(engine.state == "unloading" or engine.doomed for engine in engines):
            assert len(engines) >= self.world.live.now.max_loaded_models
            assert all(engine.n_users or self.is_wanted(engine) for engine in engines)
        for lease in self.fleet.waiting:
            own = self.engine_for(lease)
            if own is None:
                return  # those behind wait for it
            assert own.state in ("loading", "unloading")

    def engine_for(self, lease: Lease) -> Engine | None:
        return next((engine for engine in self.fleet.engines if engine.spec == lease.spec and not engine.doomed), None)

    def is_wanted(self, engine: Engine) -> bool:
        return any(lease.spec == engine.spec for lease in self.fleet.waiting)

    @invariant()
    def who_has_an_engine_can_use_it(self) -> None:
        """It is alive, or known to be gone."""
        for lease in self.granted:
            assert lease.engine is not None
            process = self.world.processes[lease.engine.process.pid - 1]
            assert lease.result.value is process
            assert (lease.engine in self.fleet.engines) is not process.is_gone

    @invariant()
    def users_are_counted(self) -> None:
        for engine in self.fleet.engines:
            mine = [lease for lease in self.leases if lease.engine is engine]
            assert engine.n_users == sum(lease.is_used for lease in mine)
            assert engine.n_open == sum(lease.is_open for lease in mine)
            if engine.state in ("ready", "generating"):
                assert (engine.state == "generating") == (engine.n_users > 0)
            assert all(lease.spec == engine.spec for lease in mine)

    @invariant()
    def no_process_is_leaked(self) -> None:
        known = [engine.process for engine in self.fleet.engines]
        assert sorted(process.pid for process in known) == [process.pid for process in self.world.alive]

    @invariant()
    def everything_has_a_deadline(self) -> None:
        """Whatever an engine does not do by itself will be done about it."""
        for engine in self.fleet.engines:
            process = self.world.processes[engine.process.pid - 1]
            idle_time_s = self.world.idle_time_of(engine.model)
            may_stay = engine.state == "ready" and (engine.n_open or not idle_time_s)
            at = engine.next_deadline(self.world.live.now.stall_timeout, idle_time_s)
            assert may_stay or at is not None or process.killed
            assert engine.state != "unloading" or process.n_stops or process.killed

    # ---- from whatever state: who is left waiting is answered, and then it gets dark

    @precondition(lambda self: self.closed is None)
    @rule()
    def everybody_behaves_for_a_while(self) -> None:
        self.world.can_start = True
        self.answer_all()
        for lease in self.leases:
            self.world.close_lease(lease)
        self.world.passes(60.0)
        self.obey()
        assert all(self.world.idle_time_of(engine.model) == STAYS_FOR_EVER for engine in self.fleet.engines)
        assert all(unload.ready() for unload in self.unloads)

    def answer_all(self) -> None:
        for _ in range(3 * len(self.fleet.waiting) + 2):  # an engine ends, another starts, it is ready
            self.obey()
            for lease in self.leases:
                if lease.is_used:
                    self.world.give_back(lease)
        assert not self.fleet.waiting

    def obey(self) -> None:
        """Each process does what is expected of it."""
        for process in self.world.alive:
            if process.n_stops or process.killed:
                self.world.end(process)
            elif process.is_loading:
                self.world.get_ready(process)
        for process in self.dead():
            self.world.free(process)

    def teardown(self) -> None:
        if self.closed is None:
            if len(self.leases) % 2:
                self.everybody_behaves_for_a_while()
            self.close()
        assert not self.fleet.waiting
        self.obey()
        assert self.closed is not None
        assert self.closed.ready()
        assert self.fleet.engines == []
        assert all(unload.ready() for unload in self.unloads)
        late = self.world.want("a")
        assert code_of(late) == "shutting_down"


def code_of(lease: Lease) -> str | None:
    error = lease.result.exception
    return error.code if isinstance(error, ServerError) else None


def is_unspawnable(lease: Lease) -> bool:
    """There was no process for it."""
    return "too many files are open" in str(lease.result.exception)


def may_try_at_once(lease: Lease) -> bool:
    """Nothing speaks against the model: there was no process for it, or it died."""
    return is_unspawnable(lease) or "engine: " in str(lease.result.exception)


FleetMachine.TestCase.settings = hypothesis.settings(max_examples=300, stateful_step_count=50)
TestFleet = FleetMachine.TestCase
