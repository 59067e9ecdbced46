"""The way of one answer's frames from an engine's reader to the request that waits for them."""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event
from gevent.queue import Empty, SimpleQueue

from hoshikage_server.engines.journal import Journal
from hoshikage_server.engines.wire import Accepted, Done, Failed, Progress, Token
from hoshikage_server.errors import EngineError, ServerError, let_go
from hoshikage_server.messages import Said

Piece = Progress | Token | Done
AnswerFrame = Accepted | Piece


class Channel:
    """A bounded queue of frames that ends with the last Done or an error. It outlives the engines that fill it.

    Args:
        label: The request's id, for the log.
        journal: Notes what passes.
        max_unsent: Frames kept for a reader that does not take them; one more ends the answer as reader_too_slow.
        on_overflow: Called when the reader was too slow. Must not switch greenlets.

    Attributes:
        label: The request's id.
        is_ended: Whether nothing follows.
        done: The end of the last choice, if there was one.
        n_cached: Tokens of the prompt that did not have to be computed, once the first choice has ended.
        error: The error it ended with, if it did.
    """

    def __init__(
        self, label: str, journal: Journal, max_unsent: int, on_overflow: Callable[[], None] | None = None
    ) -> None:
        self.label = label
        self.is_ended = False
        self.done: Done | None = None
        self.n_cached = 0
        self.error: Exception | None = None
        self._journal = journal
        self._queue: SimpleQueue[AnswerFrame | Exception] = SimpleQueue()
        self._max_unsent = max_unsent
        self._on_overflow = on_overflow
        self._is_left = Event()
        self._broken: str | Said | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens that have come so far."""
        return self._journal.n_completion

    # ---- the engine's side; nothing here switches greenlets

    def put(self, frame: AnswerFrame | Failed) -> None:
        """Hands over a frame; nothing after the end."""
        if self.is_ended:
            return
        if isinstance(frame, Token):
            self._journal.add(frame)
        if self._queue.qsize() >= self._max_unsent and isinstance(frame, (Token, Progress)):
            self._overflow()
            return
        if isinstance(frame, Done):
            self.done = frame
            self.n_cached += frame.n_cached
            self._journal.end_choice()
        if isinstance(frame, Accepted):
            if self._journal.is_accepted:
                return  # by the engine that began the answer
            self._journal.accept(frame)
        elif isinstance(frame, Failed):
            self.fail(EngineError.reported(frame.code, frame.message, frame.fields))
            return
        self._queue.put(frame)
        if isinstance(frame, Done) and frame.is_last:
            self._end()

    def fail(self, error: Exception) -> None:
        """Ends the answer with an error, unless it has ended."""
        if isinstance(error, ServerError):  # of others the way is logged
            let_go(error)
        if not self.is_ended:
            self.error = error
            self._queue.put(error)
            self._end()

    def break_off(self, reason: str | Said) -> None:
        """Says that the engine is gone: nothing more comes unless another one continues."""
        self._broken = reason
        self._is_left.set()

    def wait_for_engine(self) -> str | Said | None:
        """Waits until the engine has nothing more to do here: None at the end of the answer, else how it broke off."""
        self._is_left.wait()
        if self.is_ended:
            return None
        self._is_left.clear()
        return self._broken

    # ---- the request's side

    def get(self, timeout_s: float | None) -> AnswerFrame | None:
        """The next frame; None when none came in time.

        Raises:
            Exception: The answer has ended with it; a ServerError unless it is a fault of ours.
        """
        try:
            item = self._queue.get(timeout=timeout_s)
        except Empty:
            return None
        return _frame(item)

    def get_nowait(self) -> AnswerFrame | None:
        """The next frame if one is there; raises as `get` does."""
        return _frame(self._queue.get(block=False)) if self._queue.qsize() else None

    def _overflow(self) -> None:
        self.fail(EngineError("reader_too_slow"))
        if self._on_overflow is not None:
            self._on_overflow()

    def _end(self) -> None:
        self.is_ended = True
        self._is_left.set()


def _frame(item: AnswerFrame | Exception) -> AnswerFrame:
    if isinstance(item, Exception):
        raise item
    return item
