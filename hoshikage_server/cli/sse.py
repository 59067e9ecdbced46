"""Server-sent events as they arrive: bytes in, the data of whole events out. Pure."""

from __future__ import annotations

_EVENT_BYTES = 16 * 1024 * 1024


class EventTooLongError(ValueError):
    """An event without an end: whatever sends it is not telling events."""


class SseDecoder:
    """Takes a stream apart (WHATWG HTML, 9.2.6); names, ids and comments are passed over.

    Args:
        limit: Bytes of one event at most.
    """

    def __init__(self, limit: int = _EVENT_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._is_first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece.

        Raises:
            EventTooLongError: One of them does not end.
        """
        if not piece:
            return []
        if self._after_cr and piece.startswith(b"\n"):  # the second half of a line's end
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        events: list[bytes] = []
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            self._line += line
            self._take(bytes(self._line), events)
            self._line.clear()
        self._line += lines[-1]
        if len(self._line) + self._size > self._limit:
            raise EventTooLongError
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
