"""The way of one answer's frames from the engine's reader to the request that waits for them."""

from __future__ import annotations

from collections.abc import Callable

from gevent.queue import Empty, SimpleQueue

from hoshikage_server.engines.wire import Accepted, Done, Failed, Token

AnswerFrame = Accepted | Token | Done | Failed


class Channel:
    """A bounded queue of frames that ends with Done or Failed.

    Args:
        max_unsent: Frames kept for a reader that does not take them; one more ends the answer as reader_too_slow.
        on_end: Called once, when the engine has nothing more to do for this answer. Must not switch greenlets.
        on_overflow: Called when the reader was too slow. Must not switch greenlets.
    """

    def __init__(
        self,
        request_id: int,
        max_unsent: int,
        on_end: Callable[[], None] | None = None,
        on_overflow: Callable[[], None] | None = None,
    ) -> None:
        self.id = request_id
        self.is_ended = False
        self._queue: SimpleQueue[AnswerFrame] = SimpleQueue()
        self._max_unsent = max_unsent
        self._on_end = on_end
        self._on_overflow = on_overflow

    def put(self, frame: AnswerFrame) -> bool:
        """Hands over a frame; False when the reader is too slow and the answer has been given up."""
        if self.is_ended:
            return True
        is_last = isinstance(frame, (Done, Failed))
        if not is_last and self._queue.qsize() >= self._max_unsent:
            self.end(Failed(self.id, "reader_too_slow", ""))
            if self._on_overflow is not None:
                self._on_overflow()
            return False
        self._queue.put(frame)
        if is_last:
            self._end()
        return True

    def end(self, failure: Failed) -> None:
        """Ends the answer from this side, unless it has ended."""
        if not self.is_ended:
            self._queue.put(failure)
            self._end()

    def get(self, timeout_s: float) -> AnswerFrame | None:
        """The next frame; None when none came in time."""
        try:
            frame: AnswerFrame = self._queue.get(timeout=timeout_s)
        except Empty:
            return None
        return frame

    def get_nowait(self) -> AnswerFrame | None:
        """The next frame if one is there."""
        if not self._queue.qsize():
            return None
        frame: AnswerFrame = self._queue.get(block=False)
        return frame

    def _end(self) -> None:
        self.is_ended = True
        if self._on_end is not None:
            self._on_end()
