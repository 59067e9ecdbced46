"""Server-sent events: an accepted answer as the body of a response."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hoshikage_server.api.reply import Chunks
from hoshikage_server.engines.answers import Answer
from hoshikage_server.engines.wire import Done, Token
from hoshikage_server.errors import ServerError

log = logging.getLogger(__name__)

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream; charset=utf-8"
_DONE = b"data: [DONE]\n\n"


def event(data: bytes) -> bytes:
    """One event."""
    return b"data: " + data + b"\n\n"


class ChatStream:
    """The body of a streamed answer. gunicorn iterates it, and always closes it: the one place that cleans up.

    Pieces that are there already go out in one write; nothing is held back.

    Args:
        on_close: Gives back what the answer holds; told whether the answer was cut off before its end.
        show_error: The body of an error response for an error.
    """

    def __init__(
        self, answer: Answer, chunks: Chunks, *, with_usage: bool, show_error: Callable[[ServerError], bytes],
        on_close: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self._answer = answer
        self._chunks = chunks
        self._with_usage = with_usage
        self._show_error = show_error
        self._on_close = on_close
        self._is_open = False
        self._is_ended = False

    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> bytes:
        if self._is_ended:
            raise StopIteration
        if not self._is_open:
            self._is_open = True
            return event(self._chunks.opening())
        parts: list[bytes] = []
        try:
            frame: Token | Done | None = self._answer.next_frame()
            while frame is not None:
                if isinstance(frame, Done):
                    parts.append(self._end(frame))
                    break
                parts.append(event(self._chunks.text(frame.text)))
                frame = self._answer.next_frame_nowait()
        except ServerError as error:
            self._is_ended = True
            parts.append(event(self._show_error(error)))
        return b"".join(parts)

    def close(self) -> None:
        """Gives everything back. Never switches greenlets."""
        is_cut, self._is_ended = not self._is_ended, True
        self._on_close(is_cut)

    def _end(self, done: Done) -> bytes:
        self._is_ended = True
        end = event(self._chunks.closing(done))
        if self._with_usage:
            end += event(self._chunks.usage(done))
        return end + _DONE
