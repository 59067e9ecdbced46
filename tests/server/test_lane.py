"""The lane: fair, bounded, and free again whatever happens to those in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.engines.lane import Lane, Permit
from hoshikage_server.errors import LaneError

LIMIT_S = 30.0


class Spec(NamedTuple):
    """What the lane sees of an engine's."""

    model: str = "m"
    parallel: int = 1


class Visitor:
    """A greenlet that enters the lane and stays until it is told to go."""

    def __init__(self, lane: Lane, model: str = "m", timeout_s: float = 60, *, parallel: int = 1) -> None:
        self.model = model
        self.parallel = parallel
        self.permit: Permit | None = None
        self.greenlet = gevent.spawn(self._enter, lane, timeout_s)
        gevent.idle()

    def _enter(self, lane: Lane, timeout_s: float) -> None:
        self.permit = lane.enter(Spec(self.model, self.parallel), timeout_s=timeout_s, max_waiting=1000)

    @property
    def waits(self) -> bool:
        return not self.greenlet.ready()

    def leave(self) -> None:
        assert self.permit is not None
        self.permit.leave()
        gevent.idle()


def make_lane(
    *,
    overtake_limit_s: float = 0.0,
    is_awake: Callable[[str], bool] = lambda model: True,
    clock: Callable[[], float] = lambda: 0.0,
) -> Lane:
    lane = Lane(lambda spec: is_awake(spec.model), clock)
    lane.set_overtake_limit(overtake_limit_s)
    return lane


def enter(lane: Lane, timeout_s: float = 1, max_waiting: int = 10) -> Permit:
    return lane.enter(Spec(), timeout_s=timeout_s, max_waiting=max_waiting)


@given(st.lists(st.tuples(st.sampled_from("eld"), st.integers(0, 9)), max_size=40), st.booleans())
def test_first_come_first_served(moves: list[tuple[str, int]], is_uniform: bool) -> None:
    """Whoever enters, leaves or disconnects: nobody is let in before those who came earlier, nor besides more than its
    engine computes with it, and nobody waits for nothing."""
    lane = make_lane()
    present: list[Visitor] = []
    inside: list[Visitor] = []
    for move, which in moves:
        if move == "e":
            present.append(Visitor(lane, parallel=3 if is_uniform else 1 + which % 3))
        elif present:
            visitor = present[which % len(present)]
            if visitor.permit is not None:
                visitor.leave()
                visitor.permit.leave()  # twice does no harm
                present.remove(visitor)
            elif move == "d":  # who only waits can only disconnect
                visitor.greenlet.kill()
                present.remove(visitor)
        gevent.idle()
        inside = [visitor for visitor in inside if visitor in present]
        for visitor in [visitor for visitor in present if visitor not in inside]:
            if len(inside) >= visitor.parallel:
                break
            inside.append(visitor)
        assert [visitor for visitor in present if not visitor.waits] == inside
        assert lane.n_running == len(inside)
        assert lane.n_waiting == len(present) - len(inside)
    gevent.killall([visitor.greenlet for visitor in present])


def test_an_engine_gets_as_many_as_it_computes_at_once() -> None:
    """Three for one that computes three, whatever others do; one that computes one waits until it is alone."""
    lane = make_lane(overtake_limit_s=LIMIT_S)
    threes = [Visitor(lane, "a", parallel=3) for _ in range(4)]
    one = Visitor(lane, "b", parallel=1)
    assert [visitor.waits for visitor in threes] == [False, False, False, True]
    assert lane.is_busy(Spec("a", 9)), "nobody passes those who wait"
    for visitor in threes[:3]:
        visitor.leave()
    assert (threes[3].waits, one.waits) == (False, True)
    threes[3].leave()
    assert not one.waits
    later = Visitor(lane, "a", parallel=3)
    assert not later.waits, "it computes beside the one"
    for visitor in (one, later):
        visitor.leave()
    assert not lane.is_busy(Spec("b", 1))


def test_who_gives_up_lets_those_behind_pass() -> None:
    """Two run; the head waits until it is alone, and the one behind it fits beside them as soon as the head is gone."""
    lane = make_lane()
    inside = [Visitor(lane, parallel=3) for _ in range(2)]
    head, behind = Visitor(lane, parallel=1), Visitor(lane, parallel=3)
    assert (head.waits, behind.waits) == (True, True)
    head.greenlet.kill()
    gevent.idle()
    assert not behind.waits
    for visitor in (*inside, behind):
        visitor.leave()
    assert (lane.n_running, lane.n_waiting) == (0, 0)


def test_granted_and_killed_in_the_same_moment() -> None:
    """The permit goes on to the next; none is lost."""
    lane = make_lane()
    first = enter(lane)
    second, third = Visitor(lane), Visitor(lane)
    second.greenlet.kill(block=False)  # reaches it in the next turn of the loop
    first.leave()  # grants to it now
    gevent.idle()
    assert second.permit is None
    assert third.permit is not None
    assert (lane.n_running, lane.n_waiting) == (1, 0)


def test_timeout_leaves_the_queue() -> None:
    """queue_timeout, and nobody is kept for whom nobody waits."""
    lane = make_lane()
    with enter(lane):
        with pytest.raises(LaneError) as caught:
            enter(lane, timeout_s=0.01)
        assert caught.value.code == "queue_timeout"
        assert caught.value.headers["Retry-After"]
        assert lane.n_waiting == 0
    assert lane.n_running == 0


def test_full_queue() -> None:
    """One more than may wait is refused at once."""
    lane = make_lane()
    enter(lane)
    visitor = Visitor(lane)
    with pytest.raises(LaneError) as caught:
        enter(lane, timeout_s=60, max_waiting=1)
    assert caught.value.code == "queue_full"
    assert caught.value.headers["Retry-After"]
    visitor.greenlet.kill()


def test_waiting_times() -> None:
    """Of everybody in the queue, the longest first."""
    now = 100.0
    lane = make_lane(clock=lambda: now)
    assert lane.waits_s() == []
    enter(lane)
    visitors = [Visitor(lane)]
    now = 107.0
    visitors.append(Visitor(lane))
    now = 110.0
    assert lane.waits_s() == [10, 3]
    gevent.killall([visitor.greenlet for visitor in visitors])


class House:
    """A lane in front of a machine that holds one model: that of the last one who was let in."""

    def __init__(self, overtake_limit_s: float) -> None:
        self.now = 0.0
        self.loaded: str | None = None
        self.n_swaps = 0
        self.inside: Visitor | None = None
        self.order: list[Visitor] = []
        self.lane = make_lane(
            overtake_limit_s=overtake_limit_s, is_awake=lambda model: model == self.loaded, clock=lambda: self.now
        )
        self.waiting: list[Visitor] = []

    def arrive(self, model: str) -> Visitor:
        visitor = Visitor(self.lane, model)
        self.waiting.append(visitor)
        self.look()
        return visitor

    def serve(self, seconds: float) -> None:
        """Who is inside needs so long."""
        if self.inside is not None:
            self.now += seconds
            visitor, self.inside = self.inside, None
            visitor.leave()
            self.look()

    def look(self) -> None:
        entered = [visitor for visitor in self.waiting if not visitor.waits]
        assert len(entered) <= 1
        for visitor in entered:
            assert self.inside is None
            self.waiting.remove(visitor)
            self.inside = visitor
            self.order.append(visitor)
            self.n_swaps += self.loaded != visitor.model
            self.loaded = visitor.model


def test_requests_for_the_loaded_model_go_together() -> None:
    """Who would make the model change lets those pass who need the one that is there: one change instead of five."""
    house = House(LIMIT_S)
    for model in "ababab":
        house.arrive(model)
    for _ in range(6):
        house.serve(1)
    assert [visitor.model for visitor in house.order] == list("aaabbb")
    assert house.n_swaps == 2


def test_no_overtaking_with_a_limit_of_zero() -> None:
    """Strictly first come, first served, whatever it costs."""
    house = House(0)
    for model in "ababab":
        house.arrive(model)
    for _ in range(6):
        house.serve(1)
    assert [visitor.model for visitor in house.order] == list("ababab")


def test_overtaking_ends_at_the_limit() -> None:
    """However many for the loaded model keep coming: the other one's turn comes."""
    house = House(10)
    house.arrive("a")
    other = house.arrive("b")
    n_served = 0
    while other.waits:
        house.arrive("a")
        house.serve(3)
        n_served += 1
        assert n_served < 20
    assert house.now == 15, "first overtaken at 3, and for the last time before 13"


Arrivals = st.lists(st.one_of(st.sampled_from("abc"), st.floats(0.1, 20)), max_size=60)


@given(Arrivals, st.sampled_from([0.0, 5.0, LIMIT_S]))
def test_nobody_is_overtaken_for_longer_than_the_limit(moves: list[str | float], limit_s: float) -> None:
    """Nor ever by somebody who came later for the same model; and the first in line is never left out for nothing."""
    house = House(limit_s)
    overtaken_since: dict[Visitor, float] = {}
    line: list[Visitor] = []

    def check() -> None:
        for visitor in [visitor for visitor in line if not visitor.waits]:
            passed = line[: line.index(visitor)]
            assert visitor.model not in [other.model for other in passed]
            for other in passed:
                assert house.now - overtaken_since.setdefault(other, house.now) < limit_s
            line.remove(visitor)

    for move in moves:
        if isinstance(move, str):
            line.append(house.arrive(move))
        else:
            house.serve(move)
        check()
    while line or house.inside:
        house.serve(1)
        check()
    assert (house.lane.n_running, house.lane.n_waiting) == (0, 0)
