"""From pieces of bytes to text that may be shown: whole characters only, and nothing of a stop string.

Both classes are pure and incremental: however the input is cut into pieces, the joined output is the same.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

__all__ = ["StopScanner", "Utf8Decoder"]


class Utf8Decoder:
    """Decodes UTF-8 that arrives in arbitrary pieces, as tokens do.

    An incomplete character at the end of a piece (at most 3 bytes) is held back until it is complete. What can never
    become a character is replaced with U+FFFD, exactly as ``bytes.decode("utf-8", "replace")`` does over the whole.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bytes:
        """The incomplete character that is held back."""
        return self._decoder.getstate()[0]

    def decode(self, data: bytes) -> str:
        """Returns the characters that ``data`` completes."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """Ends the input: an incomplete character is returned as U+FFFD."""
        return self._decoder.decode(b"", final=True)


class StopScanner:
    """Ends a text at the first stop string, without ever letting a part of that stop string out.

    Text is passed on at once, except for a tail that may be the beginning of a stop string. The stop string that is
    *complete* first ends the text; of several complete at the same character, the one that began first. Going by the
    end, not by the beginning, makes the outcome independent of how the text is cut and never asks for more text to
    decide: with the stops ``"bc"`` and ``"abcd"``, ``"abc"`` has stopped.

    A mark ends that: neither in it nor behind it does a stop string count. What may be the beginning of a mark is held
    back too, and so is what may be a stop string until it is certain that it is not in a mark.

    Args:
        stops: The stop strings; a single string counts as one stop string.
        marks: The marks; with an empty one, no stop string counts at all.

    Attributes:
        stopped: The stop string that ended the text, or ``None`` while it goes on.

    Raises:
        ValueError: A stop string is empty.
    """

    __slots__ = ("_held", "_is_marked", "_marks", "_stops", "stopped")

    def __init__(self, stops: Sequence[str], marks: Sequence[str] = ()) -> None:
        self._stops = (stops,) if isinstance(stops, str) else tuple(stops)
        if "" in self._stops:
            raise ValueError("a stop string must not be empty")
        self._marks = tuple(marks)
        self._is_marked = "" in marks
        self._held = ""
        self.stopped: str | None = None

    def feed(self, text: str) -> str:
        """Takes the next piece of text and returns what may be shown now; nothing once a stop string occurred."""
        if not self._stops or self._is_marked:
            return text
        if self.stopped is not None:
            return ""
        pending, self._held = self._held + text, ""
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := pending.find(stop)) >= 0]
        mark = min((at for mark in self._marks if (at := pending.find(mark)) >= 0), default=None)
        n_unmarked = _tail_start(pending, self._marks) if mark is None else mark
        if found and min(found)[0] <= n_unmarked:
            return self._stop(pending, found)
        if mark is not None:
            self._is_marked = True
            return pending
        start = min(_tail_start(pending, self._stops), n_unmarked, *(start for _, start, _ in found))
        self._held = pending[start:]
        return pending[:start]

    def flush(self) -> str:
        """Ends the text and returns what was held back for a stop string, or a mark, that did not come."""
        held, self._held = self._held, ""
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := held.find(stop)) >= 0]
        return self._stop(held, found) if found else held

    def _stop(self, pending: str, found: Sequence[tuple[int, int, str]]) -> str:
        _, start, self.stopped = min(found)
        return pending[:start]


def _tail_start(pending: str, texts: Sequence[str]) -> int:
    """Where the longest tail begins that is the beginning of one of the texts; the end if there is none."""
    longest = max(map(len, texts), default=0)
    for start in range(max(0, len(pending) - longest + 1), len(pending)):
        tail = pending[start:]
        if any(text.startswith(tail) for text in texts):
            return start
    return len(pending)
