"""Calls that may take long or not come back at all, as into a driver or a file of the kernel's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.lock import Semaphore

T = TypeVar("T")


class NativeCalls:
    """Makes such calls in a native thread, one after another.

    While one does not come back, no other is made: each would hold a thread beside it, and there are few.

    Args:
        limit_s: How long each may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._turn = Semaphore()
        self._last: AsyncResult[tuple[object, Exception | None]] | None = None
        self._is_stuck = False

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What the function returns. Blocks the calling greenlet, never the event loop.

        Raises:
            TimeoutError: There is no answer, or still none to an earlier call.
            RuntimeError: No thread can be started.
            Exception: What the function raises.
        """
        with self._turn:
            if self._last is not None and not self._has_come_back(self._last):
                raise self._no_answer()
            # gevent would print an exception there: here it is a result like any other.
            self._last = gevent.get_hub().threadpool.spawn(_outcome, function, arguments)
            if not self._has_come_back(self._last):
                raise self._no_answer()
            value, error = self._last.get()
        if error is not None:
            raise error
        answer: T = value
        return answer

    def _has_come_back(self, result: AsyncResult[tuple[object, Exception | None]]) -> bool:
        # Whoever called may have been killed while waiting, so a call under way is not stuck just for that.
        result.wait(0 if self._is_stuck else self._limit_s)
        self._is_stuck = not result.ready()
        return not self._is_stuck

    def _no_answer(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self._limit_s:g} s")


def _outcome(function: Callable[..., T], arguments: tuple[object, ...]) -> tuple[T | None, Exception | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error
