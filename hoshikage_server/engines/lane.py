"""The lane: who may compute now. A fair lock with permits, and a bounded queue in front of it.

Who enters may have others beside it, as many as its engine computes at once (`EngineSpec.parallel`), whichever engines
those use: so no engine ever has more to do than it can.

Strictly first come, first served, with one exception: where the next one's model would have to be loaded first, those
whose model is loaded (or on its way) go before it, for a bounded time. So requests for two models that wait in turn do
not make them swap at every answer.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from gevent.event import Event

from hoshikage_server.engines.engine_spec import EngineSpec
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

    __slots__ = ("called", "is_granted", "overtaken_since", "since", "spec")

    def __init__(self, spec: EngineSpec, since: float) -> None:
        self.spec = spec
        self.since = since
        self.overtaken_since: float | None = None
        self.called = Event()
        self.is_granted = False


class Lane:
    """A permit that becomes free goes to somebody in the queue, never to a newcomer.

    Args:
        is_awake: Whether an engine is there, or on its way.
        clock: For waiting times.
    """

    def __init__(self, is_awake: Callable[[EngineSpec], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._n_running = 0
        self._overtake_limit_s = 0.0
        self._is_awake = is_awake
        self._queue: deque[_Waiter] = deque()
        self._clock = clock

    @property
    def n_running(self) -> int:
        """Permits in use."""
        return self._n_running

    @property
    def n_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def is_busy(self, spec: EngineSpec) -> bool:
        """Whether somebody who enters now, and needs this engine, has to wait."""
        return not self._has_room(spec) or bool(self._queue)

    def waits_s(self) -> list[float]:
        """How long each request in the queue has been waiting, the longest first."""
        now = self._clock()
        return [now - waiter.since for waiter in self._queue]

    def set_overtake_limit(self, overtake_limit_s: float) -> None:
        """Changes for how long one may be overtaken; takes effect at once."""
        self._overtake_limit_s = overtake_limit_s
        self._call_next()

    def enter(self, spec: EngineSpec, *, timeout_s: float, max_waiting: int, goes_on: bool = False) -> Permit:
        """Waits for a permit. An exception thrown into the waiting greenlet leaves the queue at once.

        Args:
            spec: The engine it needs.
            timeout_s: How long to wait.
            max_waiting: Requests that may wait; one more is refused.
            goes_on: It is a part of a request that has been let in already, and is not refused.

        Raises:
            LaneError: queue_full, or queue_timeout after `timeout_s`.
        """
        if not self.is_busy(spec):
            self._n_running += 1
            return Permit(self)
        if len(self._queue) >= max_waiting and not goes_on:
            raise LaneError.full(len(self._queue))
        waiter = _Waiter(spec, self._clock())
        self._queue.append(waiter)
        try:
            waiter.called.wait(timeout_s)
            if not waiter.is_granted:
                raise LaneError.waited(timeout_s)
            return Permit(self)
        except BaseException:
            if waiter.is_granted:  # called and interrupted in the same moment
                self._release()
            else:
                self._queue.remove(waiter)
                self._call_next()  # there may be room for who stood behind it
            raise

    def _release(self) -> None:
        self._n_running -= 1
        self._call_next()

    def _call_next(self) -> None:
        while self._queue:
            waiter = self._chosen()
            if not self._has_room(waiter.spec):
                return
            self._note_overtaking(waiter)
            self._queue.remove(waiter)
            self._n_running += 1
            waiter.is_granted = True
            waiter.called.set()

    def _has_room(self, spec: EngineSpec) -> bool:
        return self._n_running < spec.parallel

    def _chosen(self) -> _Waiter:
        """The head of the queue, or the first one whose model is awake while the head may still be overtaken."""
        head, now = self._queue[0], self._clock()
        overtaken_s = 0.0 if head.overtaken_since is None else now - head.overtaken_since
        if overtaken_s >= self._overtake_limit_s:
            return head
        return next((waiter for waiter in self._queue if self._is_awake(waiter.spec)), head)

    def _note_overtaking(self, chosen: _Waiter) -> None:
        now = self._clock()
        for waiter in itertools.takewhile(lambda waiter: waiter is not chosen, self._queue):
            if waiter.overtaken_since is None:
                waiter.overtaken_since = now
