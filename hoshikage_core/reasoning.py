"""Counts the tokens of a reasoning block while they come; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class ReasoningCounter:
    """Counts the tokens between the tags of a reasoning block, as the reasoning budget does: each block that opens.

    It goes by the text of the tokens, so a tag may be cut into tokens in any way. A token that holds a part of a tag
    belongs to the tag.

    Args:
        start_tag: What opens a block; without it there is none.
        end_tags: What closes it.
        opening: What stands before the answer's first token: the block may be open already.

    Attributes:
        n_tokens: Tokens in reasoning blocks so far.
    """

    __slots__ = ("_end_tags", "_is_open", "_longest", "_pieces", "_start_tags", "_tail", "n_tokens")

    def __init__(self, start_tag: str, end_tags: Sequence[str], opening: str = "") -> None:
        self._start_tags = (start_tag.encode(),) if start_tag else ()
        self._end_tags = tuple(tag.encode() for tag in end_tags if tag)
        self._longest = max(map(len, self._start_tags + self._end_tags), default=0)
        self._is_open = False
        self._tail = b""
        self._pieces: deque[tuple[int, int]] = deque()  # of the tail: how many bytes, and what they count
        self.n_tokens = 0
        self.feed(opening.encode())
        self.n_tokens = 0
        self._pieces = deque((n_bytes, 0) for n_bytes, _ in self._pieces)

    def feed(self, piece: bytes) -> None:
        """Takes the text of the next token."""
        n_counted = int(self._is_open)
        self.n_tokens += n_counted
        self._tail += piece
        self._pieces.append((len(piece), n_counted))
        while found := self._find_tag():
            self._pass_tag(*found)
        while self._pieces and len(self._tail) - self._pieces[0][0] >= self._longest - 1:
            self._tail = self._tail[self._pieces.popleft()[0] :]

    def _find_tag(self) -> tuple[int, int] | None:
        """Where the first tag begins and ends that changes anything."""
        tags = self._end_tags if self._is_open else self._start_tags
        return min(((at, at + len(tag)) for tag in tags if (at := self._tail.find(tag)) >= 0), default=None)

    def _pass_tag(self, begin: int, end: int) -> None:
        at = 0
        for n_bytes, n_counted in self._pieces:
            at += n_bytes
            if at > begin:
                self.n_tokens -= n_counted
        self._is_open = not self._is_open
        self._tail = self._tail[end:]
        self._pieces = deque([(len(self._tail), 0)])
