"""Server-sent events: an answer as the body of a response."""

from __future__ import annotations

from collections.abc import Callable

from hoshikage_server.api.reply import Chunks
from hoshikage_server.engines.answers import Answer
from hoshikage_server.engines.wire import Done, Token
from hoshikage_server.errors import ClientGoneError

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream; charset=utf-8"
_DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"  # a comment, which clients pass over


def event(data: bytes) -> bytes:
    """One event."""
    return b"data: " + data + b"\n\n"


class ChatStream:
    """The body of a streamed answer. gunicorn iterates it, and always closes it: the one place that cleans up.

    Pieces that are there already go out in one write; nothing is held back. In silence comments go out, so that nobody
    on the way takes the connection for dead.

    Args:
        new_chunks: Makes the chunks, once the answer has been accepted.
        ping_s: How long a silence may be.
        is_late: Whether it has been silent for that long already.
        on_close: Gives back what the answer holds; told whether the answer was cut off before its end.
        show_error: The body of an error response for an error.
    """

    def __init__(
        self, answer: Answer, new_chunks: Callable[[], Chunks], *, with_usage: bool, ping_s: float, is_late: bool,
        show_error: Callable[[Exception], bytes], on_close: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self._answer = answer
        self._new_chunks = new_chunks
        self._chunks: Chunks | None = None
        self._with_usage = with_usage
        self._ping_s = ping_s
        self._is_late = is_late
        self._show_error = show_error
        self._on_close = on_close
        self._is_ended = False

    def __iter__(self) -> ChatStream:
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
            self._is_ended = True
            return event(self._show_error(error))

    def close(self) -> None:
        """Gives everything back. Never switches greenlets."""
        is_cut, self._is_ended = not self._is_ended, True
        self._on_close(is_cut)

    def _next(self) -> bytes:
        if self._chunks is None:
            if not self._answer.wait_until_accepted(self._ping_s):
                return _PING
            self._chunks = self._new_chunks()
            return event(self._chunks.opening())
        frame = self._answer.next_frame(self._ping_s)
        if frame is None:
            return _PING
        parts: list[bytes] = []
        try:
            while frame is not None:
                parts.append(self._event(self._chunks, frame))
                frame = None if isinstance(frame, Done) else self._answer.next_frame_nowait()
        except Exception as error:  # what came before it is not lost
            self._is_ended = True
            parts.append(event(self._show_error(error)))
        return b"".join(parts)

    def _event(self, chunks: Chunks, frame: Token | Done) -> bytes:
        text = event(chunks.text(frame.text)) if frame.text else b""
        if isinstance(frame, Token):
            return text
        self._is_ended = True
        end = event(chunks.closing(frame))
        if self._with_usage:
            end += event(chunks.usage(frame))
        return text + end + _DONE
