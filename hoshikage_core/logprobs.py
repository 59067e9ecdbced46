"""Log-probabilities of an answer's tokens: read after each step, told when the token's text is shown."""

from __future__ import annotations

import codecs
import dataclasses
from collections import deque
from typing import TYPE_CHECKING

from hoshikage_core._ffi import call, ffi, lib

if TYPE_CHECKING:
    from hoshikage_core.sequence import Sequence


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability, before any sampler."""

    token: int
    logprob: float


@dataclasses.dataclass(frozen=True)
class TokenLogprobs:
    """A token of an answer or of a prompt, and what might have stood in its place.

    Attributes:
        token: The token.
        logprob: The natural logarithm of its probability, before any sampler.
        top: The likeliest tokens in its place, most likely first.
    """

    token: int
    logprob: float
    top: tuple[TokenLogprob, ...]


class LogprobReader:
    """Reads from the logits that the last step kept, into buffers that are made once."""

    def __init__(self, n_top: int) -> None:
        self._n_top = n_top
        self._logprob = ffi.new("float *")
        self._tokens = ffi.new("int32_t[]", n_top)
        self._logprobs = ffi.new("float[]", n_top)

    def read(self, sequence: Sequence, token: int, n_back: int = 0) -> TokenLogprobs:
        """What the logits say about the token that follows them; the engine's lock must be held.

        Args:
            sequence: Whose logits.
            token: The token that was chosen from them, or that stands there.
            n_back: Those so many tokens before the last one that was computed.
        """
        with sequence.engine.native as context:
            arguments = (n_back, token, self._logprob, self._tokens, self._logprobs, self._n_top)
            call(lib.hsk_logprobs_get, context, sequence.id, *arguments)
        top = tuple(TokenLogprob(self._tokens[i], self._logprobs[i]) for i in range(self._n_top))
        return TokenLogprobs(token, self._logprob[0], top)


class LogprobQueue:
    """Holds tokens back until the first character that they are a part of is shown; pure."""

    __slots__ = ("_n_decoded", "_n_shown", "_waiting")

    def __init__(self) -> None:
        self._n_decoded = 0
        self._n_shown = 0
        self._waiting: deque[tuple[int, int, TokenLogprobs | None]] = deque()

    @property
    def first_waiting(self) -> int | None:
        """The index of the first token that is held back."""
        return self._waiting[0][1] if self._waiting else None

    def add(self, index: int, entry: TokenLogprobs | None, piece: bytes, pending: bytes, n_chars: int) -> None:
        """Takes the next token.

        Args:
            index: Its place in the answer.
            entry: What is to be told; None: `fill` says it later.
            piece: Its bytes; without any, it is told with the next that has some.
            pending: The unfinished character before it.
            n_chars: Characters that it completed.
        """
        # The pending bytes are a character by themselves.
        begins_anew = piece and pending and not _continues(pending, piece)
        self._waiting.append((self._n_decoded + bool(begins_anew), index, entry))
        self._n_decoded += n_chars

    def fill(self, index: int, entry: TokenLogprobs) -> None:
        """Says what is to be told about a token that is held back."""
        self._waiting = deque((at, i, entry if i == index else old) for at, i, old in self._waiting)

    def shown(self, n_chars: int) -> tuple[TokenLogprobs, ...]:
        """Takes note of characters that are shown now, and gives what is to be told with them."""
        self._n_shown += n_chars
        told = []
        while self._waiting and self._waiting[0][0] < self._n_shown:
            entry = self._waiting.popleft()[2]
            if entry is not None:
                told.append(entry)
        return tuple(told)

    def rest(self) -> tuple[TokenLogprobs, ...]:
        """What is still held back at the end of the answer."""
        told = tuple(entry for _, _, entry in self._waiting if entry is not None)
        self._waiting.clear()
        return told


def _continues(pending: bytes, piece: bytes) -> bool:
    """Whether a piece goes on with an unfinished character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(pending + piece[:1])
    except UnicodeDecodeError:
        return False
    return True
