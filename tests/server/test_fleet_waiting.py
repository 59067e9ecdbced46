"""Who waits for what in the fleet, for how long, and who comes first."""

from __future__ import annotations

import pytest
from memory_engines import World, error_of, is_waiting, loaded, settings_of

from hoshikage_server.engines import wire
from hoshikage_server.engines.engine import Lease


@pytest.fixture
def world() -> World:
    return World(settings_of(stall_timeout=20.0, load_timeout=60.0, stop_timeout=5.0))


def test_who_goes_on_goes_first(world: World) -> None:
    """Somebody reads its beginning already; those who have nothing yet come after it."""
    world.want("a")
    [a] = world.processes
    world.get_ready(a)
    other = world.want("b")
    again = world.want("c", goes_on=True)
    world.end(a)
    c = world.processes[-1]
    world.get_ready(c)
    assert again.result.value is c
    assert is_waiting(other)


def test_memory_that_was_freed_is_tried_at_once(world: World) -> None:
    """What did not fit beside another model is not refused any more when that has gone."""
    world.change(max_loaded_models=2)
    busy = world.want("a")
    [a] = world.processes
    world.get_ready(a)
    first = world.want("b")
    world.fail_load(world.processes[1], "insufficient_memory")
    world.end(world.processes[1])
    assert error_of(first).code == "insufficient_memory"
    assert error_of(world.want("b")).code == "insufficient_memory", "nothing has changed"
    world.close_lease(busy)
    world.unload("a")
    world.end(a)
    third = world.want("b")
    world.get_ready(world.processes[-1])
    assert third.result.successful()


def test_the_longest_idle_makes_room_for_what_does_not_fit(world: World) -> None:
    """Not the one that was used last."""
    world.change(max_loaded_models=3)
    a = loaded(world, "a")
    world.passes(1)
    b = loaded(world, "b")
    world.passes(1)
    world.close_lease(world.want("a"))
    world.want("c")
    world.fail_load(world.processes[2], "insufficient_memory")
    assert (a.n_stops, b.n_stops) == (0, 1)


def test_a_wait_for_a_place_ends_in_time(world: World) -> None:
    """And says when to come back; who waits for a load waits for as long as that may take."""
    world.change(queue_timeout=10.0)
    world.want("a")
    [a] = world.processes
    world.passes(15)
    world.get_ready(a)
    other = world.want("b")
    world.hear(a, wire.Loading(1.0))
    world.passes(9)
    assert is_waiting(other)
    world.hear(a, wire.Loading(1.0))
    world.passes(2)
    error = other.result.exception
    assert (error.code, error.headers) == ("queue_timeout", {"Retry-After": "5"})


def test_a_long_load_is_no_wait_for_a_place(world: World) -> None:
    """Who has waited for a load that came to nothing still gets what was made possible for it by then."""
    world.change(queue_timeout=10.0, max_loaded_models=2, stall_timeout=100.0)
    a = loaded(world, "a")
    lease = world.want("b")
    b = world.processes[1]
    world.passes(15)
    world.fail_load(b, "insufficient_memory")
    world.passes(1)
    assert is_waiting(lease)
    world.end(b)
    assert a.n_stops == 1
    world.end(a)
    world.get_ready(world.processes[2])
    assert lease.result.successful()


def test_a_worker_serves_one_model_at_a_time(world: World) -> None:
    """So an engine on it makes place for the next one, though there is room for both here; others stay."""
    world.change(max_loaded_models=3)
    other = loaded(world, "other")
    user = world.want("a", rpc_servers=("host:1", "host:2"))
    a = world.processes[-1]
    world.get_ready(a)
    lease = world.want("b", rpc_servers=("host:2",))
    assert (a.n_stops, other.n_stops) == (0, 0), "it is in use"
    world.give_back(user)
    assert (a.n_stops, other.n_stops) == (1, 0)
    assert is_waiting(lease)
    world.end(a)
    world.get_ready(world.processes[-1])
    assert lease.result.value is world.processes[-1]
    beside = world.want("c", rpc_servers=("host:1",))
    world.get_ready(world.processes[-1])
    assert beside.result.value is world.processes[-1]
    assert other.n_stops == 0


def test_those_who_go_on_keep_their_order(world: World) -> None:
    """Among themselves they are served as they came."""
    world.want("a")
    [a] = world.processes
    world.get_ready(a)
    leases = [world.want("b"), world.want("c", goes_on=True), world.want("d", goes_on=True)]
    assert list(world.fleet.waiting) == [leases[1], leases[2], leases[0]]


def test_the_last_name_counts(world: World) -> None:
    """Two names of one file, with two idle times: the one it was used by."""
    world.idle_times = {"a": 10, "b": 100}
    process = loaded(world, "a")
    lease = Lease("b", process.spec)
    world.send(lambda: world.fleet.want(lease))
    world.close_lease(lease)
    world.passes(50)
    assert process.n_stops == 0
    world.passes(60)
    assert process.n_stops == 1
