"""The high level of one answer: tokens become text, stop strings and limits end it."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from hoshikage_core import _checks
from hoshikage_core.errors import ClosedError, HoshikageError, InvalidArgumentError
from hoshikage_core.text import StopScanner, Utf8Decoder

if TYPE_CHECKING:
    from hoshikage_core.sequence import Sequence

FinishReason = Literal["stop", "length", "cancelled"]


class Event(NamedTuple):
    """One step of an answer.

    Attributes:
        text: What may be shown now; whole characters, possibly none.
        tokens: The tokens sampled in this step. Their text may come with a later event: an unfinished character or the
            possible beginning of a stop string is held back.
        finish_reason: Set on the last event: "stop" (end token or stop string), "length" or "cancelled".
    """

    text: str
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None


@dataclasses.dataclass(frozen=True)
class Timings:
    """Where the time of an answer went, in seconds.

    Attributes:
        prefill_s: From the start to the first token.
        decode_s: From the first token to the last.
    """

    prefill_s: float
    decode_s: float


@dataclasses.dataclass(frozen=True)
class Completion:
    """A whole answer; of one that went on after ``so_far``, the part that was new.

    Attributes:
        text: The text, without the stop string that ended it.
        tokens: All sampled tokens, the end token included.
        finish_reason: "stop" (end token or stop string), "length" or "cancelled".
        n_prompt: Tokens of the prompt.
        n_completion: Tokens of the answer, those of ``so_far`` included.
        timings: Where the time went.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    n_prompt: int
    n_completion: int
    timings: Timings


class Generation:
    """A running answer; made by ``Engine.stream()`` and ``Engine.stream_chat()``.

    Iterate over it for its events: that drives the engine. Or drive the engine yourself with ``Engine.step()`` and
    collect with ``take()``. Dropping it, or leaving it as a context manager, ends it and frees its sequence.

    Its ``prompt_tokens``, ``stops`` and ``seed`` with the tokens of its events are what another process needs to go on
    with it: they are arguments of ``Engine.stream()``.

    Attributes:
        n_prompt: Tokens of the prompt.
        n_completion: Tokens of the answer so far, those of ``so_far`` included.
        stops: All texts that end it, those of the chat template included.
        finish_reason: None while it runs.
        failure: What ended it, if it was an error; iterating raises it.
    """

    def __init__(
        self, sequence: Sequence, max_tokens: int | None, stop: SequenceOf[str], so_far: SequenceOf[int]
    ) -> None:
        if max_tokens is not None:
            _checks.integer("max_tokens", max_tokens, 1, 2**63)
        stops = _checks.texts("stop", stop)
        if "" in stops:
            raise InvalidArgumentError("stop", "must not hold an empty text")
        self.stops = tuple(stops)
        self._scanner = StopScanner(self.stops)
        self.sequence = sequence
        self.n_prompt = len(sequence.tokens)
        self.n_completion = 0
        self.finish_reason: FinishReason | None = None
        self.failure: HoshikageError | None = None
        room = sequence.engine.n_ctx - self.n_prompt
        self._max_tokens = room if max_tokens is None else min(max_tokens, room)
        self._decoder = Utf8Decoder()
        self._events: deque[Event] = deque()
        self._completion: Completion | None = None
        self._started = self._last = time.perf_counter()
        self._first: float | None = None
        self._go_on_after(so_far)

    @property
    def prompt_tokens(self) -> list[int]:
        """The prompt's token ids."""
        return self.sequence.tokens[: self.n_prompt]

    @property
    def seed(self) -> int:
        """What its random choices come from: ``SamplingParams.seed``, or what was drawn where that is None."""
        return self.sequence.seed

    @property
    def finished(self) -> bool:
        """Whether it has ended; events may still wait to be taken."""
        return self.finish_reason is not None or self.failure is not None

    @property
    def timings(self) -> Timings:
        """Where the time went so far."""
        first = self._last if self._first is None else self._first
        return Timings(prefill_s=first - self._started, decode_s=self._last - first)

    def take(self) -> list[Event]:
        """The events since the last call, without computing anything."""
        events = list(self._events)
        self._events.clear()
        return events

    def result(self) -> Completion:
        """Runs to the end and returns the whole answer, without the events that were taken before."""
        events = list(self)
        if self._completion is not None:
            return self._completion
        assert self.finish_reason is not None
        self._completion = Completion(
            text="".join(event.text for event in events),
            tokens=tuple(token for event in events for token in event.tokens),
            finish_reason=self.finish_reason,
            n_prompt=self.n_prompt,
            n_completion=self.n_completion,
            timings=self.timings,
        )
        return self._completion

    def cancel(self) -> None:
        """Ends it with "cancelled", within milliseconds on CPU even while a prompt is computed. Any thread."""
        self.sequence.cancel()

    def close(self) -> None:
        """Ends it at once and frees its sequence. May be called twice."""
        if not self.finished:
            self.cancel()
        with self.sequence.engine.lock:
            if not self.finished:
                self.finish("cancelled")

    def __iter__(self) -> Iterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self.failure is not None:
                raise self.failure
            if self.finished:
                return
            try:
                self.sequence.engine.step()
            except ClosedError:
                if not self.finished:  # closing the engine ended it: its last event is there
                    raise

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on_token(self, token: int) -> None:
        """Takes the token the engine sampled for this sequence."""
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last
        event = self._event_of(token)
        if event.finish_reason is None:
            self._events.append(event)
        else:
            self._end(event)

    def fail(self, failure: HoshikageError) -> None:
        """Ends it by an error."""
        self.failure = failure
        self.sequence.close()

    def finish(self, reason: FinishReason) -> None:
        """Ends it between two tokens."""
        self._end(Event(self._flush(), (), reason))

    def _go_on_after(self, so_far: SequenceOf[int]) -> None:
        """Takes up an answer: all is as if this generation had sampled these tokens and its events had been taken."""
        for token in so_far:
            event = self._event_of(token)
            if event.finish_reason is not None:
                self._end(Event("", (), event.finish_reason))
                return
        if so_far:
            self.sequence.extend(so_far)

    def _event_of(self, token: int) -> Event:
        """Counts a token and says what it brings: text, and perhaps the end."""
        self.n_completion += 1
        model = self.sequence.engine.model
        if model.is_end(token):
            return Event(self._flush(), (token,), "stop")
        text = self._scanner.feed(self._decoder.decode(model.token_to_bytes(token)))
        if self._scanner.stopped is not None:
            return Event(text, (token,), "stop")
        if self.n_completion >= self._max_tokens:
            return Event(text + self._flush(), (token,), "length")
        return Event(text, (token,))

    def _flush(self) -> str:
        text = self._scanner.feed(self._decoder.flush())
        return text if self._scanner.stopped is not None else text + self._scanner.flush()

    def _end(self, event: Event) -> None:
        self._events.append(event)
        self.finish_reason = event.finish_reason
        self.sequence.close()
