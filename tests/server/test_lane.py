"""The lane: fair, bounded, and free again whatever happens to those in it."""

from __future__ import annotations

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.engines.lane import Lane, Permit
from hoshikage_server.errors import LaneError


class Visitor:
    """A greenlet that enters the lane and stays until it is told to go."""

    def __init__(self, lane: Lane, timeout_s: float = 60) -> None:
        self.permit: Permit | None = None
        self.greenlet = gevent.spawn(self._enter, lane, timeout_s)

    def _enter(self, lane: Lane, timeout_s: float) -> None:
        self.permit = lane.enter(timeout_s)

    @property
    def waits(self) -> bool:
        return not self.greenlet.ready()


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("eld"), st.integers(0, 9)), max_size=40))
def test_first_come_first_served(parallel: int, moves: list[tuple[str, int]]) -> None:
    """Whoever enters, leaves or disconnects, in any order: those inside are always the first that are still there."""
    lane = Lane(parallel, 1000)
    present: list[Visitor] = []
    for move, which in moves:
        if move == "e":
            present.append(Visitor(lane))
        elif present:
            visitor = present[which % len(present)]
            if visitor.permit is not None:
                visitor.permit.leave()
                visitor.permit.leave()  # twice does no harm
                present.remove(visitor)
            elif move == "d":  # who only waits can only disconnect
                visitor.greenlet.kill()
                present.remove(visitor)
        gevent.idle()
        assert [visitor.waits for visitor in present] == [i >= parallel for i in range(len(present))]
        assert lane.n_running == min(parallel, len(present))
        assert lane.n_waiting == max(0, len(present) - parallel)
    gevent.killall([visitor.greenlet for visitor in present])


def test_granted_and_killed_in_the_same_moment() -> None:
    """The permit goes on to the next; none is lost."""
    lane = Lane(1, 10)
    first = lane.enter(1)
    second, third = Visitor(lane), Visitor(lane)
    gevent.idle()
    second.greenlet.kill(block=False)  # reaches it in the next turn of the loop
    first.leave()  # grants to it now
    gevent.idle()
    assert second.permit is None
    assert third.permit is not None
    assert (lane.n_running, lane.n_waiting) == (1, 0)


def test_timeout_leaves_the_queue() -> None:
    """queue_timeout, and nobody is kept for whom nobody waits."""
    lane = Lane(1, 10)
    with lane.enter(1):
        with pytest.raises(LaneError) as caught:
            lane.enter(0.01)
        assert caught.value.code == "queue_timeout"
        assert caught.value.headers["Retry-After"]
        assert lane.n_waiting == 0
    assert lane.n_running == 0


def test_full_queue() -> None:
    """One more than may wait is refused at once."""
    lane = Lane(1, 1)
    lane.enter(1)
    visitor = Visitor(lane)
    gevent.idle()
    with pytest.raises(LaneError) as caught:
        lane.enter(60)
    assert caught.value.code == "queue_full"
    visitor.greenlet.kill()


def test_waiting_time_is_that_of_the_head() -> None:
    """Told by a clock that is passed in."""
    now = 100.0
    lane = Lane(1, 10, clock=lambda: now)
    assert lane.longest_wait_s == 0
    lane.enter(1)
    visitor = Visitor(lane)
    gevent.idle()
    now = 107.0
    assert lane.longest_wait_s == 7
    visitor.greenlet.kill()
