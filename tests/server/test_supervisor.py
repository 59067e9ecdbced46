"""The owner of the engines, with fake engines as its processes."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator

import gevent
import msgspec
import pytest
from api_client import FAKE_ENGINE, give_up_silent, wait_for
from memory_engines import no_memory_log, settings_of

from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Freed
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.errors import EngineError, ServerError
from hoshikage_server.messages import said
from hoshikage_server.settings import LiveSettings, Settings


def spec(name: str) -> EngineSpec:
    return EngineSpec(f"/nowhere/{name}.gguf", 4096)


def lease_of(name: str, **options: object) -> Lease:
    return Lease(name, spec(name), **options)  # type: ignore[arg-type]


@pytest.fixture
def live() -> LiveSettings:
    """Settings that tests exchange by `change`."""
    return LiveSettings(settings_of(load_timeout=60.0, stop_timeout=0.3))


def change(live: LiveSettings, **values: object) -> None:
    read: Settings = msgspec.structs.replace(live.now, **values)
    live._read = lambda: read
    live.reread()


@pytest.fixture
def supervisor(live: LiveSettings) -> Iterator[Supervisor]:
    made = Supervisor(
        functools.partial(EngineProcess, FAKE_ENGINE, Gpu(), Dormitory(live), no_memory_log()),
        live,
        lambda model: live.now.idle_timeout,
    )
    yield made
    made.close(60)
    assert made.snapshot().engines == ()


def wait_for_state(supervisor: Supervisor, state: str) -> None:
    wait_for(lambda: supervisor.snapshot().state == state)


def ask(supervisor: Supervisor, name: str, **options: object) -> gevent.Greenlet:
    """Somebody who waits for an engine."""
    greenlet = gevent.spawn(supervisor.lease, lease_of(name, **options))
    gevent.sleep(0)
    supervisor.settled()
    return greenlet


def error_of(greenlet: gevent.Greenlet) -> EngineError:
    greenlet.join(60)
    assert isinstance(greenlet.exception, EngineError), greenlet
    return greenlet.exception


def refusal(supervisor: Supervisor, name: str, **options: object) -> ServerError:
    with pytest.raises(ServerError) as caught:
        supervisor.lease(lease_of(name, **options))
    return caught.value


def test_a_start_that_is_our_own_fault_is_told(live: LiveSettings) -> None:
    """Nobody waits for an engine that could not even be asked to load: here a number that does not fit in a frame."""
    spawn = functools.partial(EngineProcess, FAKE_ENGINE, Gpu(), Dormitory(live), no_memory_log())
    supervisor = Supervisor(spawn, live, lambda model: 0.0)
    unsendable = Lease("m", msgspec.structs.replace(spec("m"), gpu_layers=2**70))
    waiting = gevent.spawn(supervisor.lease, unsendable)
    assert error_of(waiting).code == "model_load_failed"
    assert supervisor.lease(lease_of("m")).pid
    supervisor.close(60)


def test_states_of_a_life(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """From unloaded through loading, ready and generating to unloaded again, when it is closed."""
    seen: list[str] = []
    advance = supervisor._fleet.advance

    def record() -> None:
        for _ in range(2):  # what the message changed, and what followed
            if seen[-1:] != [supervisor.snapshot().state]:
                seen.append(supervisor.snapshot().state)
            advance()

    monkeypatch.setattr(supervisor._fleet, "advance", record)
    lease = lease_of("m")
    engine = supervisor.lease(lease)
    assert supervisor.settled().state == "generating"
    for _ in range(2):  # twice does no harm
        supervisor.give_back(lease)
    assert supervisor.settled().state == "ready"
    for _ in range(2):
        supervisor.close_lease(lease)
    assert supervisor.settled().engines[0].pid == engine.pid
    supervisor.close(60)
    assert supervisor.settled().state == "unloaded"
    assert seen == ["unloaded", "loading", "ready", "generating", "ready", "unloading", "unloaded"]


def test_everyone_waits_for_the_same_load(supervisor: Supervisor) -> None:
    """One process for many who ask while it loads."""
    waiting = [ask(supervisor, "slow") for _ in range(5)]
    assert len({greenlet.get(timeout=60) for greenlet in waiting}) == 1
    assert supervisor.snapshot().n_starts == 1


def test_an_engine_in_use_is_not_ended(supervisor: Supervisor) -> None:
    """The other model waits until the last user has given it back."""
    leases = [lease_of("m"), lease_of("m")]
    for lease in leases:
        supervisor.lease(lease)
    other = ask(supervisor, "other")
    supervisor.give_back(leases[0])
    supervisor.settled()
    assert not other.ready()
    assert supervisor.snapshot().model == "m"
    supervisor.give_back(leases[1])
    assert other.get(timeout=60).spec == spec("other")


def test_who_leaves_while_waiting_is_forgotten(supervisor: Supervisor) -> None:
    """A load nobody wants any more gives way; no user is counted who is not there."""
    leaver = ask(supervisor, "never")
    assert supervisor.snapshot().state == "loading"
    leaver.kill()
    lease = lease_of("m")
    supervisor.lease(lease)
    supervisor.close_lease(lease)
    assert supervisor.settled().state == "ready"
    assert supervisor.snapshot().engines[0].idle_until is not None


def test_a_wait_for_a_place_has_an_end(live: LiveSettings, supervisor: Supervisor) -> None:
    """Answers of another model may go on for ever; who waits for their engine's place does not wait as long."""
    supervisor.lease(lease_of("m"))
    change(live, queue_timeout=0.05, load_timeout=0.05)
    assert refusal(supervisor, "other").code == "queue_timeout"
    assert not supervisor.settled().n_crashes
    assert not supervisor._fleet.waiting


def test_a_failed_load_is_told_to_all_who_wait(supervisor: Supervisor) -> None:
    """Those who come soon after are told the same and nothing is loaded; who insists tries again."""
    waiting = [ask(supervisor, "refuse") for _ in range(3)]
    for greenlet in waiting:
        assert error_of(greenlet).code == "model_load_failed"
    wait_for_state(supervisor, "failed")
    error = refusal(supervisor, "refuse")
    assert error.headers["Retry-After"]
    assert "this is no model" in str(error)
    assert supervisor.snapshot().n_starts == 1
    assert supervisor.cooling().keys() == {"refuse"}
    assert refusal(supervisor, "refuse", insists=True).code == "model_load_failed"
    assert supervisor.snapshot().n_starts == 2


def test_a_death_while_loading(supervisor: Supervisor) -> None:
    """Is tried again as often as was asked for; then it is told to all, and the next one may try at once."""
    waiting = [ask(supervisor, "die") for _ in range(3)]
    for greenlet in waiting:
        assert "SIGKILL" in str(error_of(greenlet))
    assert supervisor.settled().n_starts == 1
    assert refusal(supervisor, "die", n_retries=1).code == "model_load_failed"
    assert supervisor.snapshot().n_starts == 3
    error = refusal(supervisor, "die")
    assert (error.code, supervisor.snapshot().n_starts) == ("model_failed", 3)
    assert 30 < float(error.headers["Retry-After"]) <= 60
    assert supervisor.lease(lease_of("m"))


def test_a_program_that_is_not_there(live: LiveSettings) -> None:
    """Starting it fails like a load, for everyone."""
    supervisor = Supervisor(
        functools.partial(EngineProcess, ["/no/such/program"], Gpu(), Dormitory(live), no_memory_log()),
        live,
        lambda _: 300,
    )
    for _ in range(2):
        error = refusal(supervisor, "m")
        assert error.code == "model_load_failed"
        assert "no such file" in str(error)
    assert supervisor.snapshot().state == "failed"


def test_an_engine_without_a_library(live: LiveSettings) -> None:
    """The sentence that hoshikage_core has for it, with the remedy, comes to whoever waits."""
    words = "libcudart.so.13 was not found: in a checkout, `make build` gets what is missing"
    command = [sys.executable, "-c", f"raise ImportError({words!r})"]
    spawn = functools.partial(EngineProcess, command, Gpu(), Dormitory(live), no_memory_log())
    error = refusal(Supervisor(spawn, live, lambda _: 300), "m")
    assert error.code == "model_load_failed"
    assert words in error.text("ja")
    assert words in error.text("en")


def test_death_while_idle_is_noticed(supervisor: Supervisor) -> None:
    """The state says so, and the next request gets a new engine."""
    lease = lease_of("m")
    engine = supervisor.lease(lease)
    supervisor.close_lease(lease)
    os.kill(engine.pid, signal.SIGKILL)
    wait_for_state(supervisor, "failed")
    assert supervisor.snapshot().n_crashes == 1
    assert supervisor.snapshot().crashes[0].reason == said("engine_signal", signal="SIGKILL")
    assert supervisor.lease(lease_of("m")) is not engine
    assert supervisor.snapshot().last_error is None


def test_a_lease_of_a_dead_engine_changes_no_count(supervisor: Supervisor) -> None:
    """Given back after its engine has died and another has started."""
    old = lease_of("m")
    supervisor.lease(old).kill("a test")
    wait_for_state(supervisor, "failed")
    supervisor.lease(lease_of("m"))
    supervisor.close_lease(old)
    other = ask(supervisor, "other")
    assert supervisor.snapshot().state == "generating"
    assert not other.ready(), "the new engine is still in use"
    other.kill()


def test_a_stalled_engine_is_killed(
    live: LiveSettings, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """Who comes then gets a new engine; the stall counts as a crash, and the log has it once."""
    caplog.set_level(logging.INFO, "hoshikage_server")
    stalled = supervisor.lease(lease_of("m"))
    os.kill(stalled.pid, signal.SIGSTOP)
    give_up_silent(live, supervisor)
    assert supervisor.lease(lease_of("m")) is not stalled
    assert "no sign of life for 0.3 s" in str(supervisor.snapshot().crashes[0].reason)
    [died] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "no sign of life" in died.message


def test_the_log_tells_how_an_engine_died(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    """With the signal and its last words."""
    caplog.set_level(logging.INFO, "hoshikage_server")
    refusal(supervisor, "die")
    [died] = [record.getMessage() for record in caplog.records if "died" in record.getMessage()]
    assert "signal SIGKILL" in died
    assert "last words: GGML_ASSERT(a reason) failed" in died


def test_an_idle_engine_ends_by_itself(live: LiveSettings, supervisor: Supervisor) -> None:
    """After its idle time, counted from the last lease's end; what it gave back is told."""
    change(live, idle_timeout=500.0)
    lease = lease_of("m")
    engine = supervisor.lease(lease)
    supervisor.give_back(lease)
    [held] = supervisor.settled().engines
    assert held.idle_until is None, "its answer is still being read"
    supervisor.usages()
    began = time.monotonic()
    supervisor.close_lease(lease)
    [idle] = supervisor.settled().engines
    assert idle.idle_until is not None
    assert began + 500 <= idle.idle_until <= time.monotonic() + 500
    change(live, idle_timeout=0.5)
    wait_for_state(supervisor, "unloaded")
    assert time.monotonic() >= idle.idle_until - 499.5
    wait_for(lambda: supervisor.snapshot().last_unload)
    unload = supervisor.snapshot().last_unload
    assert unload is not None
    assert (unload.model, unload.freed.is_all) == ("m", True)
    assert unload.freed.usage is not None
    assert unload.freed.usage.rss_bytes > 1_000_000
    with pytest.raises(ProcessLookupError):
        os.kill(engine.pid, 0)


def test_unloading(supervisor: Supervisor) -> None:
    """Tells what it gave back, that there was nothing, or that somebody uses it."""
    assert supervisor.unload("m", 60) is None
    lease = lease_of("m")
    supervisor.lease(lease)
    with pytest.raises(EngineError) as caught:
        supervisor.unload("m", 60)
    assert caught.value.code == "model_in_use"
    supervisor.close_lease(lease)
    freed = supervisor.unload("m", 60)
    assert isinstance(freed, Freed)
    assert freed.is_all
    assert supervisor.settled().engines == ()


def test_more_places_are_used_at_once(live: LiveSettings, supervisor: Supervisor) -> None:
    """A limit that was raised helps who waits already."""
    supervisor.lease(lease_of("m"))
    other = ask(supervisor, "other")
    change(live, max_loaded_models=2)
    assert other.get(timeout=60).spec == spec("other")
    assert {engine.model for engine in supervisor.snapshot().engines} == {"m", "other"}
    assert supervisor.is_awake(spec("m"))
    assert supervisor.is_awake(spec("other"))
    assert not supervisor.is_awake(spec("third"))


def test_nobody_is_left_waiting_when_it_closes(supervisor: Supervisor) -> None:
    """Those who wait are told, and so is whoever comes later."""
    waiting = ask(supervisor, "never")
    supervisor.close(60)
    assert error_of(waiting).code == "shutting_down"
    assert refusal(supervisor, "m").code == "shutting_down"


def test_a_fault_in_the_owner_does_not_end_it(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, and the next message is handled."""
    monkeypatch.setattr(supervisor._fleet, "unload", lambda *_: 1 / 0)
    with pytest.raises(gevent.Timeout):
        supervisor.unload("m", 0.05)
    assert "ZeroDivisionError" in caplog.text
    assert supervisor.lease(lease_of("m"))
