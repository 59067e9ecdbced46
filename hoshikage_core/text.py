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

    Args:
        stops: The stop strings; a single string counts as one stop string.

    Attributes:
        stopped: The stop string that ended the text, or ``None`` while it goes on.

    Raises:
        ValueError: A stop string is empty.
    """

    __slots__ = ("_held", "_longest", "_stops", "stopped")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = (stops,) if isinstance(stops, str) else tuple(stops)
        if "" in self._stops:
            raise ValueError("a stop string must not be empty")
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped: str | None = None

    def feed(self, text: str) -> str:
        """Takes the next piece of text and returns what may be shown now; nothing once a stop string occurred."""
        if not self._stops:
            return text
        if self.stopped is not None:
            return ""
        pending = self._held + text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := pending.find(stop)) >= 0]
        if found:
            _, start, self.stopped = min(found)
            self._held = ""
            return pending[:start]
        start = self._tail_start(pending)
        self._held = pending[start:]
        return pending[:start]

    def flush(self) -> str:
        """Ends the text and returns what was held back for a stop string that did not come."""
        held, self._held = self._held, ""
        return held

    def _tail_start(self, pending: str) -> int:
        """Where the longest tail begins that is the beginning of a stop string; the end if there is none."""
        for start in range(max(0, len(pending) - self._longest + 1), len(pending)):
            tail = pending[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(pending)
