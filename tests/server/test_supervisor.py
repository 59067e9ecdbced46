"""The owner of the engine, with the fake engine as its process."""

from __future__ import annotations

import functools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from api_client import FAKE_ENGINE

from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.lane import Lane
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


def question(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "sampling": Sampling()}


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


def test_a_stalled_engine_serves_nobody_else(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    """Who comes between its kill and its end gets a new engine, not the dying one; the stall counts as a crash."""
    caplog.set_level(logging.INFO, "hoshikage_server")
    stalled = supervisor.lease("m", spec("m"))
    assert stalled.engine is not None
    os.kill(stalled.engine.pid, signal.SIGSTOP)
    supervisor.report_stall(stalled.engine)
    supervisor.give_back(stalled)
    lease = supervisor.lease("m", spec("m"))
    assert lease.engine is not stalled.engine
    assert supervisor.snapshot.n_crashes == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("text", ["", "hang"])
def test_a_death_is_logged_as_an_error_once(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """Here when it concerns no request, by the request when it does."""
    caplog.set_level(logging.INFO, "hoshikage_server")
    engine = supervisor.lease("m", spec("m")).engine
    if text:
        channel, _ = ask(supervisor, text)
        assert isinstance(channel.get(5), Accepted)
    assert engine is not None
    engine.kill()
    wait_for(lambda: supervisor.snapshot.state == "failed")
    levels = [record.levelno for record in caplog.records if "died" in record.message]
    assert levels == [logging.INFO if text else logging.ERROR]


def test_silence_is_measured_from_the_last_sign_of_life(supervisor: Supervisor) -> None:
    """An engine that falls silent is given up after stall_timeout, not after up to twice of it."""
    answers = Answers(Lane(1, 1), supervisor, queue_timeout_s=5, stall_timeout_s=1, max_unsent=100)
    with answers.begin("m", spec("m"), question("count 2 900")) as answer:
        assert isinstance(answer.next_frame(), Token)
        assert answer._engine is not None
        os.kill(answer._engine.pid, signal.SIGSTOP)
        gevent.sleep(0.8)
        began = time.monotonic()
        with pytest.raises(EngineError) as caught:
            answer.next_frame()
        assert caught.value.code == "engine_stalled"
        assert time.monotonic() - began < 0.5


def test_a_replaced_file_is_another_model(supervisor: Supervisor, tmp_path: Path) -> None:
    """The engine that holds the old content is not asked again."""
    file = tmp_path / "m.gguf"
    file.write_bytes(b"old")
    answers = Answers(Lane(1, 1), supervisor, queue_timeout_s=5, stall_timeout_s=5, max_unsent=100)
    starts = []
    for content in (None, None, b"newer"):
        if content is not None:
            file.write_bytes(content)
        with answers.begin("m", EngineSpec(str(file), 4096), question("echo a")) as answer:
            assert [type(frame) for frame in answer.frames()] == [Token, Done]
        starts.append(supervisor.snapshot.n_starts)
    assert starts == [1, 1, 2]


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
    return engine.generate(make, **question(text)), happened


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
