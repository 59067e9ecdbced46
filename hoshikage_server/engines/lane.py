"""The lane: who may compute now. A fair lock with `parallel` permits and a bounded queue in front of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from gevent.event import Event

from hoshikage_server.errors import LaneError


class Permit:
    """The right to compute. Leaving twice does no harm."""

    def __init__(self, lane: Lane) -> None:
        self._lane: Lane | None = lane

    def leave(self) -> None:
        """Gives the right to whoever waits longest. Never switches greenlets."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane._release()

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class _Waiter:
    """One request in the queue."""

    __slots__ = ("called", "is_granted", "since")

    def __init__(self, since: float) -> None:
        self.called = Event()
        self.is_granted = False
        self.since = since


class Lane:
    """First come, first served: a permit that becomes free goes to the head of the queue, never to a newcomer.

    Args:
        parallel: Permits given out at once.
        max_waiting: Requests that may wait; one more is refused.
        clock: For waiting times.
    """

    def __init__(self, parallel: int, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._n_free = parallel
        self._parallel = parallel
        self._max_waiting = max_waiting
        self._queue: deque[_Waiter] = deque()
        self._clock = clock

    @property
    def n_running(self) -> int:
        """Permits in use."""
        return self._parallel - self._n_free

    @property
    def n_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def longest_wait_s(self) -> float:
        """How long the head of the queue has been waiting."""
        return self._clock() - self._queue[0].since if self._queue else 0.0

    def enter(self, timeout_s: float) -> Permit:
        """Waits for a permit. An exception thrown into the waiting greenlet leaves the queue at once.

        Raises:
            LaneError: queue_full, or queue_timeout after `timeout_s`.
        """
        if self._n_free > 0:  # then nobody waits: free permits go to the queue first
            self._n_free -= 1
            return Permit(self)
        if len(self._queue) >= self._max_waiting:
            raise LaneError("queue_full", waiting=len(self._queue), headers={"Retry-After": "5"})
        waiter = _Waiter(self._clock())
        self._queue.append(waiter)
        try:
            waiter.called.wait(timeout_s)
            if not waiter.is_granted:
                raise LaneError("queue_timeout", seconds=f"{timeout_s:g}", headers={"Retry-After": "5"})
            return Permit(self)
        except BaseException:
            if waiter.is_granted:  # called and interrupted in the same moment
                self._release()
            else:
                self._queue.remove(waiter)
            raise

    def _release(self) -> None:
        if self._queue:
            waiter = self._queue.popleft()
            waiter.is_granted = True
            waiter.called.set()
        else:
            self._n_free += 1
