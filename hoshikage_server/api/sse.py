"""Server-sent events: an answer as the body of a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.wire import Done, Token
from hoshikage_server.errors import ClientGoneError

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"  # a comment, which clients pass over


class Events(Protocol):
    """How an endpoint tells of an answer. Each method returns the bytes of whole events, possibly none."""

    def opening(self) -> bytes:
        """The answer has begun."""

    def piece(self, frame: Piece) -> bytes:
        """It goes on, or ends."""

    def failed(self, body: bytes) -> bytes:
        """It broke off; `body` is that of an error response. Nothing follows."""


class Source(Protocol):
    """Where the pieces come from: an `Answer`, or several one after the other."""

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Waits for the beginning; False if it does not come in time."""

    def next_frame(self, timeout_s: float | None) -> Piece | None:
        """The next piece; None if it does not come in time."""

    def next_frame_nowait(self) -> Piece | None:
        """The next piece if it is there already."""


def event(data: bytes, name: str | None = None) -> bytes:
    """One event."""
    return b"data: " + data + b"\n\n" if name is None else f"event: {name}\n".encode() + b"data: " + data + b"\n\n"


def is_end(frame: Piece) -> bool:
    """Whether nothing follows."""
    return isinstance(frame, Done) and frame.is_last


def pieces(answer: Source) -> Iterator[Token | Done]:
    """All of an answer that is told as a whole, as it is made.

    Raises:
        ServerError: It broke off.
    """
    while True:
        frame = answer.next_frame(None)
        if isinstance(frame, (Token, Done)):
            yield frame
            if is_end(frame):
                return


class EventStream:
    """The body of a streamed answer. gunicorn iterates it, and always closes it: the one place that cleans up.

    Pieces that are there already go out in one write; nothing is held back. In silence comments go out, so that nobody
    on the way takes the connection for dead.

    Args:
        new_events: Makes the events, once the answer has been accepted.
        ping_s: How long a silence may be.
        is_late: Whether it has been silent for that long already.
        show_error: The body of an error response for an error.
        on_close: Gives back what the answer holds; told whether the answer was cut off before its end.
    """

    def __init__(
        self, answer: Source, new_events: Callable[[], Events], *, ping_s: float, is_late: bool,
        show_error: Callable[[Exception], bytes], on_close: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self._answer = answer
        self._new_events = new_events
        self._events: Events | None = None
        self._ping_s = ping_s
        self._is_late = is_late
        self._show_error = show_error
        self._on_close = on_close
        self._is_ended = False

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        if self._is_ended:
            raise StopIteration
        if self._is_late:
            self._is_late = False
            return _PING
        try:
            return self._next()
        except ClientGoneError:
            raise
        except Exception as error:
            return self._fail(error)

    def close(self) -> None:
        """Gives everything back. Never switches greenlets."""
        is_cut, self._is_ended = not self._is_ended, True
        self._on_close(is_cut)

    def _next(self) -> bytes:
        if self._events is None:
            if not self._answer.wait_until_accepted(self._ping_s):
                return _PING
            self._events = self._new_events()
            return self._events.opening()
        frame = self._answer.next_frame(self._ping_s)
        if frame is None:
            return _PING
        parts: list[bytes] = []
        try:
            while frame is not None:
                parts.append(self._events.piece(frame))
                self._is_ended = is_end(frame)
                frame = None if self._is_ended else self._answer.next_frame_nowait()
        except Exception as error:  # what came before it is not lost
            parts.append(self._fail(error))
        return b"".join(parts)

    def _fail(self, error: Exception) -> bytes:
        self._is_ended = True
        body = self._show_error(error)
        return event(body) if self._events is None else self._events.failed(body)
