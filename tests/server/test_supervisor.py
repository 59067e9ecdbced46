"""The owner of the engine, with the fake engine as its process."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from api_client import FAKE_ENGINE

from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.supervisor import Lease, State, Supervisor
from hoshikage_server.engines.wire import Accepted, Done, EngineSpec, Failed, Sampling, Token
from hoshikage_server.errors import EngineError


def spec(name: str) -> EngineSpec:
    return EngineSpec(f"/nowhere/{name}.gguf", 4096)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    spawn = functools.partial(EngineProcess, FAKE_ENGINE)
    made = Supervisor(spawn, load_timeout_s=5, stop_timeout_s=1)
    yield made
    made.close(10)
    assert made.snapshot.pid is None


def wait_for(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        gevent.sleep(0.005)


def lease_of(supervisor: Supervisor, name: str) -> gevent.Greenlet:
    greenlet = gevent.spawn(supervisor.lease, name, spec(name))
    gevent.sleep(0)
    return greenlet


def test_states_of_a_life(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """From unloaded through loading, ready and generating to unloaded again, when it is closed."""
    seen: list[str] = []
    enter = supervisor._enter

    def record(state: State, **changes: object) -> None:
        enter(state, **changes)
        if seen[-1:] != [supervisor.snapshot.state]:
            seen.append(supervisor.snapshot.state)

    monkeypatch.setattr(supervisor, "_enter", record)
    assert supervisor.snapshot.state == "unloaded"
    lease = supervisor.lease("m", spec("m"))
    assert supervisor.snapshot.state == "generating"
    supervisor.give_back(lease)
    supervisor.give_back(lease)  # twice does no harm
    wait_for(lambda: supervisor.snapshot.state == "ready")
    supervisor.close(10)
    assert seen == ["loading", "ready", "generating", "ready", "unloading", "unloaded"]


def test_everyone_waits_for_the_same_load(supervisor: Supervisor) -> None:
    """One process for many who ask while it loads."""
    waiting = [lease_of(supervisor, "slow") for _ in range(5)]
    leases: list[Lease] = [greenlet.get(timeout=10) for greenlet in waiting]
    assert len({lease.engine for lease in leases}) == 1
    assert supervisor.snapshot.n_starts == 1


def test_an_engine_in_use_is_not_ended(supervisor: Supervisor) -> None:
    """The other model waits until the last user has given it back."""
    first, second = supervisor.lease("m", spec("m")), supervisor.lease("m", spec("m"))
    other = lease_of(supervisor, "other")
    supervisor.give_back(first)
    gevent.sleep(0.1)
    assert not other.ready()
    assert supervisor.snapshot.model == "m"
    supervisor.give_back(second)
    assert other.get(timeout=10).engine.spec == spec("other")


def test_who_leaves_while_waiting_is_forgotten(supervisor: Supervisor) -> None:
    """A load nobody wants any more gives way; no user is counted who is not there."""
    leaver = lease_of(supervisor, "never")
    wait_for(lambda: supervisor.snapshot.state == "loading")
    leaver.kill()
    lease = supervisor.lease("m", spec("m"))
    supervisor.give_back(lease)
    wait_for(lambda: supervisor.snapshot.state == "ready")


@pytest.mark.parametrize("name", ["refuse", "die"])
def test_a_failed_load_is_told_to_all_who_wait(supervisor: Supervisor, name: str) -> None:
    """And the next one tries again."""
    waiting = [lease_of(supervisor, name) for _ in range(3)]
    for greenlet in waiting:
        greenlet.join(10)
        assert isinstance(greenlet.exception, EngineError)
        assert greenlet.exception.code == "model_load_failed"
    wait_for(lambda: supervisor.snapshot.state == "failed")
    with pytest.raises(EngineError):
        supervisor.lease(name, spec(name))
    assert supervisor.snapshot.n_starts == 2


def test_a_program_that_is_not_there() -> None:
    """Starting it fails like a load, for everyone."""
    supervisor = Supervisor(functools.partial(EngineProcess, ["/no/such/program"]), load_timeout_s=5, stop_timeout_s=1)
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            supervisor.lease("m", spec("m"))
        assert caught.value.code == "model_load_failed"
    assert supervisor.snapshot.state == "failed"


def test_death_while_idle_is_noticed(supervisor: Supervisor) -> None:
    """The state says so, and the next request gets a new engine."""
    lease = supervisor.lease("m", spec("m"))
    supervisor.give_back(lease)
    assert supervisor.snapshot.pid is not None
    os.kill(supervisor.snapshot.pid, signal.SIGKILL)
    wait_for(lambda: supervisor.snapshot.state == "failed")
    assert supervisor.snapshot.n_crashes == 1
    assert supervisor.lease("m", spec("m")).engine is not lease.engine


def test_a_lease_of_a_dead_engine_changes_no_count(supervisor: Supervisor) -> None:
    """Given back after its engine has died and another has started."""
    old = supervisor.lease("m", spec("m"))
    assert old.engine is not None
    old.engine.kill()
    wait_for(lambda: supervisor.snapshot.state == "failed")
    supervisor.lease("m", spec("m"))
    supervisor.give_back(old)
    other = lease_of(supervisor, "other")
    gevent.sleep(0.1)
    assert not other.ready(), "the new engine is still in use"
    other.kill()


def test_nobody_is_left_waiting_when_it_closes(supervisor: Supervisor) -> None:
    """Those who wait are told, and so is whoever comes later."""
    waiting = lease_of(supervisor, "never")
    supervisor.close(10)
    waiting.join(5)
    assert isinstance(waiting.exception, EngineError)
    with pytest.raises(EngineError) as caught:
        supervisor.lease("m", spec("m"))
    assert caught.value.code == "shutting_down"


def ask(supervisor: Supervisor, text: str, max_unsent: int = 1000) -> tuple[Channel, list[str]]:
    happened: list[str] = []

    def make(request_id: int) -> Channel:
        return Channel(request_id, max_unsent, lambda: happened.append("end"), lambda: happened.append("overflow"))

    engine = supervisor.lease("m", spec("m")).engine
    assert engine is not None
    messages = [{"role": "user", "content": text}]
    return engine.generate(make, messages=messages, sampling=Sampling()), happened


def test_frames_arrive_in_order(supervisor: Supervisor) -> None:
    """Accepted, the pieces, the end; on_end once."""
    channel, happened = ask(supervisor, "echo a b")
    frames = [channel.get(5) for _ in range(4)]
    assert frames == [Accepted(1, 7), Token(1, "a"), Token(1, " b"), Done(1, "stop", 7, 2)]
    assert channel.get_nowait() is None
    assert happened == ["end"]


def test_a_slow_reader_is_given_up(supervisor: Supervisor) -> None:
    """No more than max_unsent frames are kept; the engine is told to stop; the end says why."""
    channel, happened = ask(supervisor, "count 500 1", max_unsent=10)
    wait_for(lambda: channel.is_ended)
    frames = [channel.get(1) for _ in range(11)]
    assert isinstance(frames[-1], Failed)
    assert frames[-1].code == "reader_too_slow"
    assert channel.get_nowait() is None
    assert happened == ["end", "overflow"]


def test_a_question_that_is_too_large_leaves_nothing_behind(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame's bound holds on this side too, and the engine serves on."""
    monkeypatch.setattr("hoshikage_server.engines.wire.MAX_FRAME_BYTES", 1000)
    with pytest.raises(Exception, match="too large"):
        ask(supervisor, "x" * 2000)
    channel, _ = ask(supervisor, "echo a")
    assert isinstance(channel.get(5), Accepted)
