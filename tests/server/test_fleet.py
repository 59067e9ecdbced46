"""What the fleet decides, case by case; that it holds together in all cases is test_fleet_machine's."""

from __future__ import annotations

import pytest
from memory_engines import World, error_of, is_waiting, loaded, settings_of

from hoshikage_server.engines.footprint import Freed, Usage
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import Said, said

FREED = Freed(Usage(2, 1))


@pytest.fixture
def world() -> World:
    return World(settings_of(stall_timeout=20.0, load_timeout=60.0, stop_timeout=5.0, overtake_limit=30.0))


# ---- places


def test_everyone_waits_for_the_same_load(world: World) -> None:
    """One process for many who ask while it loads."""
    leases = [world.want("a") for _ in range(5)]
    [process] = world.processes
    world.get_ready(process)
    assert [lease.result.value for lease in leases] == [process] * 5


def test_an_engine_in_use_makes_no_place(world: World) -> None:
    """The other model waits until the last user has given it back, and until the engine has ended."""
    first, second = world.want("a"), world.want("a")
    [a] = world.processes
    world.get_ready(a)
    other = world.want("b")
    world.give_back(first)
    assert a.n_stops == 0
    world.give_back(second)
    assert a.n_stops == 1
    assert world.alive == [a]
    world.end(a)
    world.get_ready(world.processes[1])
    assert other.result.value is world.processes[1]


def test_the_one_that_was_idle_longest_makes_place(world: World) -> None:
    """With several places."""
    world.change(max_loaded_models=3)
    a, b, c = (loaded(world, model) for model in "abc")
    world.passes(1)
    world.close_lease(world.want("a"))
    world.want("d")
    assert [process.n_stops for process in (a, b, c)] == [0, 1, 0]


def test_a_load_nobody_wants_any_more_gives_way(world: World) -> None:
    """To the next model that is asked for."""
    world.close_lease(world.want("a"))
    [a] = world.processes
    assert a.n_stops == 0, "it goes on as long as it is in nobody's way"
    world.want("b")
    assert a.n_stops == 1


def test_a_load_somebody_wants_does_not_give_way(world: World) -> None:
    """First come, first served."""
    first = world.want("a")
    world.want("b")
    [a] = world.processes
    world.get_ready(a)
    assert first.result.value is a


def test_who_waits_for_a_place_is_not_passed(world: World) -> None:
    """By those who would keep the engine busy that has to go."""
    user = world.want("a")
    world.get_ready(world.processes[0])
    other, late = world.want("b"), world.want("a")
    assert is_waiting(late)
    world.give_back(user)
    world.end(world.processes[0])
    world.get_ready(world.processes[1])
    assert not is_waiting(other)
    assert is_waiting(late)


def test_fewer_places_than_engines(world: World) -> None:
    """A limit that was lowered is kept as soon as somebody needs a place."""
    world.change(max_loaded_models=3)
    processes = [loaded(world, model) for model in "abc"]
    world.send(lambda: world.change(max_loaded_models=1))
    assert len(world.alive) == 3
    lease = world.want("d")
    while world.alive and is_waiting(lease):
        for process in world.alive:
            if process.n_stops:
                world.end(process)
            elif process.is_loading:
                world.get_ready(process)
    assert [process.n_stops for process in processes] == [1, 1, 1]
    assert len(world.alive) == 1


def test_a_replaced_file_is_another_model(world: World) -> None:
    """The engine that holds the old content ends, though there would be a place for both."""
    world.change(max_loaded_models=2)
    old = loaded(world, "a", version=1)
    lease = world.want("a", version=2)
    assert old.n_stops == 1
    world.end(old)
    world.get_ready(world.processes[1])
    assert lease.result.value.spec.mtime_ns == 2


# ---- time


def test_the_idle_time_starts_with_the_last_byte(world: World) -> None:
    """Not when the engine has done its part."""
    world.idle_times["a"] = 10
    lease = world.want("a")
    [process] = world.processes
    world.get_ready(process)
    world.give_back(lease)
    world.passes(100)
    assert process.n_stops == 0
    world.close_lease(lease)
    world.passes(9)
    assert process.n_stops == 0
    world.passes(1)
    assert process.n_stops == 1
    world.end(process, frees=False)
    world.free(process, FREED)
    assert world.fleet.last_unload is not None
    assert (world.fleet.last_unload.model, world.fleet.last_unload.freed) == ("a", FREED)
    assert not world.fleet.has_failed


def test_a_new_user_starts_it_anew(world: World) -> None:
    """And an idle time of 0 means for ever."""
    world.idle_times["a"] = 10
    process = loaded(world, "a")
    world.passes(8)
    world.close_lease(world.want("a"))
    world.passes(8)
    assert process.n_stops == 0
    world.idle_times["a"] = 0
    world.send(lambda: None)
    world.passes(100_000)
    assert process.n_stops == 0
    assert world.fleet.next_deadline() is None, "nobody needs to be woken"


def test_a_silent_engine_is_killed_and_serves_nobody_else(world: World) -> None:
    """Whoever comes between its kill and its end gets a new one; it counts as a crash."""
    world.want("a")
    [process] = world.processes
    world.get_ready(process)
    world.passes(19)
    process.last_heard = world.now
    world.passes(19)
    assert process.killed is None
    world.passes(1)
    assert process.killed
    assert "no sign of life for 20 s" in str(process.killed)
    lease = world.want("a")
    assert is_waiting(lease)
    world.end(process, "req_1")
    assert world.fleet.crashes[0].reason == process.killed
    world.get_ready(world.processes[1])
    assert lease.result.value is world.processes[1]


def test_silence_before_it_was_asked_is_no_stall(world: World) -> None:
    """An idle engine has nothing to say."""
    process = loaded(world, "a")
    world.passes(200)
    world.want("a")
    world.passes(19)
    assert process.killed is None
    world.passes(1)
    assert process.killed


def test_a_load_has_a_deadline(world: World) -> None:
    """However lively it is; those who wait are told."""
    lease = world.want("a")
    [process] = world.processes
    for _ in range(5):
        world.passes(11)
        process.last_heard = world.now
    assert process.killed is None
    world.passes(5)
    assert process.killed
    assert error_of(lease).code == "load_timeout"
    world.end(process)
    assert not world.fleet.crashes
    assert world.fleet.has_failed


def test_an_engine_that_does_not_stop_is_killed(world: World) -> None:
    """Its model's end was wanted; that it needed force is no crash."""
    process = loaded(world, "a")
    world.want("b")
    world.passes(5)
    assert process.killed
    world.end(process)
    assert not world.fleet.crashes
    assert len(world.processes) == 2


# ---- failures


def test_a_failed_load_is_told_to_all_who_wait(world: World) -> None:
    """With the reason and when to come back; until then nobody loads it, unless somebody insists."""
    leases = [world.want("a") for _ in range(3)]
    [process] = world.processes
    world.fail_load(process)
    for lease in leases:
        error = error_of(lease)
        assert (error.code, error.headers["Retry-After"]) == ("model_load_failed", "10")
        assert error.headers["x-should-retry"] == "false", "a client that waits and tries again would do so in vain"
        assert "a reason" in str(error)
    assert process.killed, "a process that failed to load has no other use"
    world.end(process)
    world.passes(3)
    assert error_of(world.want("a")).headers["Retry-After"] == "7"
    world.want("b")
    assert len(world.processes) == 2, "other models are not concerned"


@pytest.mark.parametrize("servers", [(), ("host:1", "host:2")])
def test_where_to_look(world: World, servers: tuple[str, ...]) -> None:
    """Nothing tells which worker it was that hung or died: all of a model's are named, and none of another's."""
    world.change(load_timeout=10.0)
    late = world.want("a", rpc_servers=servers)
    world.passes(11)
    world.end(world.processes[-1])
    for _ in range(4):
        world.want("b", rpc_servers=servers)
        if world.alive:
            world.end(world.alive[-1])
    dead = world.want("b", rpc_servers=servers)
    for lease, code, remedy in ((late, "load_timeout", "HOSHIKAGE_LOAD_TIMEOUT"), (dead, "model_failed", "log")):
        told = error_of(lease)
        assert told.code == code
        assert ("host:1, host:2" in told.text("ja")) == ("host:1, host:2" in told.text("en")) == bool(servers)
        assert (remedy in told.text("en")) != bool(servers)


def test_who_insists_is_not_refused(world: World) -> None:
    """Neither by a failure's pause nor by the cooling after crashes."""
    world.want("a")
    world.fail_load(world.processes[-1])
    world.end(world.processes[-1])
    world.want("a", insists=True)
    assert len(world.alive) == 1
    for _ in range(3):
        world.end(world.processes[-1])
        world.want("a")
    assert error_of(world.want("a")).code == "model_failed"
    world.want("a", insists=True)
    assert len(world.alive) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [("insufficient_memory", "a reason"), ("gpu_required", said("no_gpu_memory"))]
)
def test_what_does_not_fit_beside_an_idle_engine_gets_its_place(world: World, code: str, reason: str | Said) -> None:
    """Only when it fails alone as well, it is refused; the memory may be the GPU's."""
    world.change(max_loaded_models=2)
    idle = loaded(world, "a")
    lease = world.want("b")
    world.fail_load(world.processes[1], code, reason)
    assert is_waiting(lease)
    assert idle.n_stops == 1
    world.end(world.processes[1])
    world.end(idle)
    assert len(world.processes) == 3
    world.fail_load(world.processes[2], code, reason)
    assert error_of(lease).code == code


def test_without_a_gpu_no_place_is_made(world: World) -> None:
    """Where one is required, nothing would come of ending another engine."""
    world.change(max_loaded_models=2)
    idle = loaded(world, "a")
    lease = world.want("b")
    world.fail_load(world.processes[1], "gpu_required", said("no_gpu_driver"))
    assert error_of(lease).code == "gpu_required"
    assert idle.n_stops == 0


def test_what_ran_out_of_memory_gets_the_place_of_an_idle_engine(world: World) -> None:
    """Beside that, the next one would most likely run out of it again."""
    world.change(max_loaded_models=2)
    idle = loaded(world, "a")
    world.want("b")
    dying = world.processes[1]
    world.get_ready(dying)
    world.end(dying, reason=said("engine_out_of_memory", words="x"))
    lease = world.want("b", goes_on=True)
    assert idle.n_stops == 1
    assert len(world.processes) == 2, "its memory is not free yet"
    world.end(idle)
    world.get_ready(world.processes[2])
    assert lease.result.value is world.processes[2]


def test_a_death_while_loading_is_retried_as_often_as_a_lease_allows(world: World) -> None:
    """Each lease for itself; there is no pause before the next load."""
    patient, impatient = world.want("a", n_retries=1), world.want("a")
    world.end(world.processes[0])
    assert error_of(impatient).code == "model_load_failed"
    assert "SIGKILL" in str(error_of(impatient))
    assert is_waiting(patient)
    world.end(world.processes[1])
    assert error_of(patient).code == "model_load_failed"
    world.want("a")
    assert len(world.processes) == 3


def test_too_many_deaths_make_a_model_cool_down(world: World) -> None:
    """It is refused for a while, with when to come back, and others are not."""
    world.change(max_loaded_models=2)
    for _ in range(3):
        world.want("a")
        world.end(world.processes[-1])
    refused, other = world.want("a"), world.want("b")
    assert (error_of(refused).code, error_of(refused).headers) == ("model_failed", {"Retry-After": "60"})
    world.get_ready(world.processes[-1])
    assert not is_waiting(other)
    world.close_lease(other)
    world.passes(60)
    world.want("a")
    assert len(world.processes) == 5


def test_no_process_to_be_had(world: World) -> None:
    """An error for who asked, and nothing that is remembered."""
    world.can_start = False
    error = error_of(world.want("a"))
    assert error.code == "model_load_failed"
    assert "too many files are open" in str(error)
    world.can_start = True
    world.want("a")
    assert len(world.alive) == 1


def test_a_lease_of_a_dead_engine_changes_no_count(world: World) -> None:
    """Given back after its engine has died and another has started."""
    old = world.want("a")
    world.get_ready(world.processes[0])
    world.end(world.processes[0], "req_1")
    new = world.want("a")
    world.get_ready(world.processes[1])
    world.close_lease(old)
    world.want("b")
    assert world.processes[1].n_stops == 0, "the new engine is still in use"
    world.give_back(new)
    assert world.processes[1].n_stops == 1


def test_what_an_engine_says_after_it_was_told_to_end(world: World) -> None:
    """Frames that were under way then change nothing."""
    world.close_lease(world.want("a"))
    world.want("b")
    [a] = world.processes
    assert a.n_stops == 1
    world.get_ready(a)
    late = world.want("a")
    assert is_waiting(late)
    world.fail_load(a)
    assert is_waiting(late)
    world.end(a)
    assert len(world.processes) == 2
    assert not world.fleet.crashes


# ---- unloading


def test_unloading_ends_when_it_is_known_what_it_gave_back(world: World) -> None:
    """That is the result."""
    process = loaded(world, "a")
    result = world.unload("a")
    world.end(process, frees=False)
    assert not result.ready()
    world.free(process, FREED)
    assert result.value is FREED
    assert world.unload("a").ready(), "there is nothing left to unload"
    assert world.unload("a").value is None


def test_a_model_in_use_or_wanted_is_not_unloaded(world: World) -> None:
    """Somebody needs it."""
    lease = world.want("a")
    for _ in range(2):
        result = world.unload("a")
        assert isinstance(result.exception, EngineError)
        assert result.exception.code == "model_in_use"
        if is_waiting(lease):
            world.get_ready(world.processes[0])
    world.give_back(lease)
    assert not world.unload("a").ready(), "who only reads is no reason to keep it"
    assert world.processes[0].n_stops == 1


def test_a_death_while_it_is_unloaded(world: World) -> None:
    """Whoever unloads it gets what they wanted."""
    process = loaded(world, "a")
    results = [world.unload("a"), world.unload("a")]
    world.end(process)
    assert all(result.successful() for result in results)
    assert not world.fleet.crashes


def test_closing_ends_everything_for_good(world: World) -> None:
    """Also what is in use; who waits and who comes is told."""
    world.change(max_loaded_models=2)
    world.want("a")
    world.get_ready(world.processes[0])
    loading = world.want("b")
    done = world.close()
    assert error_of(loading).code == "shutting_down"
    assert [process.n_stops for process in world.processes] == [1, 1]
    assert not done.ready()
    assert error_of(world.want("a")).code == "shutting_down"
    for process in world.processes:
        world.end(process)
    assert done.ready()
