"""A running generation: one prompt, and one answer to it after the other."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle
from hoshikage_core.answer import Answer, Event, FinishReason, Rules
from hoshikage_core.errors import ClosedError, ContextFullError, HoshikageError, InvalidArgumentError, Reason
from hoshikage_core.logprobs import LogprobReader, TokenLogprobs

if TYPE_CHECKING:
    from hoshikage_core.prompt import ChatPrompt
    from hoshikage_core.sequence import Sequence


@dataclasses.dataclass(frozen=True)
class Timings:
    """Where the time of an answer went, in seconds.

    Attributes:
        prefill_s: From the start to the first token; almost nothing for a choice that finds its prompt computed.
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
        n_reasoning: Tokens in its reasoning block.
        choice: Which of several choices it is.
        logprobs: One for each of its tokens, where they were asked for.
        n_cached: How many tokens of the prompt an earlier sequence had computed.
        n_drafted: How many tokens were guessed; see ``Speculation``.
        n_accepted: How many of the guesses were right.
        prompt_logprobs: Those of the prompt's tokens, but for the first, which nothing comes before; where they were
            asked for. Of several choices, the first has them.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    n_prompt: int
    n_completion: int
    timings: Timings
    n_reasoning: int = 0
    choice: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()
    n_cached: int = 0
    n_drafted: int = 0
    n_accepted: int = 0
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()


class _Draft(NamedTuple):
    """A choice whose first token was drawn from the logits at the end of the prompt."""

    sampler: Handle
    token: int
    logprobs: TokenLogprobs | None


class Generation:
    """A running generation; made by ``Engine.stream()`` and ``Engine.stream_chat()``.

    Iterate over it for its events: that drives the engine. Or drive the engine yourself with ``Engine.step()`` and
    collect with ``take()``. Dropping it, or leaving it as a context manager, ends it and frees its sequence.

    Its ``prompt_tokens``, ``stops``, ``shape`` and ``seed`` with the tokens of its events are what another process
    needs to go on with it: they are arguments of ``Engine.stream()``.

    Several choices come one after the other. What is said below about "the choice" is about that of the latest event:
    the next one begins in the next step. An error ends all of them, and so does cancelling: then one event says so.

    Attributes:
        n_prompt: Tokens of the prompt.
        n_choices: How many answers it gives, those before ``first_choice`` included.
        stops: All texts that end an answer, those of the chat template included.
        shape: The rendered chat it answers, if it is one.
        text_so_far: What the tokens of ``so_far`` say, as far as their events had told it.
        finish_reason: None while it runs; then that of the last choice.
        failure: What ended it, if it was an error; iterating raises it.
        n_drafted: How many tokens of the choice were guessed.
        n_accepted: How many of the guesses were right.
        samples: Whether the next logits are for sampling; else `on_logits` wants them.
        is_between: Whether one choice has ended and the next one has not begun.
    """

    def __init__(
        self,
        sequence: Sequence,
        max_tokens: int | None,
        stop: SequenceOf[str],
        so_far: SequenceOf[int] = (),
        *,
        shape: ChatPrompt | None = None,
        n_top_logprobs: int | None = None,
        n_prompt_logprobs: int | None = None,
        n_choices: int = 1,
        first_choice: int = 0,
    ) -> None:
        if max_tokens is not None:
            _checks.integer("max_tokens", max_tokens, 0, 2**63)
        stops = _checks.texts("stop", stop)
        if "" in stops:
            raise InvalidArgumentError("stop", Reason("empty_stop", "must not hold an empty text"))
        model = sequence.engine.model
        if n_top_logprobs is not None:
            _checks.integer("n_top_logprobs", n_top_logprobs, 0, model.info.n_vocab)
        if n_prompt_logprobs is not None:
            _checks.integer("n_prompt_logprobs", n_prompt_logprobs, 0, model.info.n_vocab)
        self.stops = tuple(dict.fromkeys([*stops, *(shape.stops if shape else ())]))
        self.shape = shape
        self.sequence = sequence
        self.n_prompt = len(sequence.tokens)
        self.n_choices = n_choices
        self.finish_reason: FinishReason | None = None
        self.failure: HoshikageError | None = None
        self.is_between = False
        self.n_drafted = self.n_accepted = 0
        room = sequence.engine.n_ctx - self.n_prompt
        self._rules = Rules(
            stops=self.stops,
            max_tokens=room if max_tokens is None else min(max_tokens, room),
            min_tokens=sequence.sampling.min_tokens,
            shown_specials=model.single_tokens(shape.preserved_tokens) if shape else frozenset(),
            thinking_tags=(shape.thinking_start_tag, shape.thinking_end_tags) if shape else ("", ()),
            opening=shape.generation_prompt if shape else "",
            has_logprobs=n_top_logprobs is not None,
            call_starts=shape.call_starts if shape else (),
        )
        self.samples = self._rules.max_tokens > 0
        self._reader = None if n_top_logprobs is None else LogprobReader(n_top_logprobs)
        self._prompt_reader = None if n_prompt_logprobs is None else LogprobReader(n_prompt_logprobs)
        self._n_scored = 1  # of the prompt's tokens: the first has no probability
        sequence.is_scored = self._prompt_reader is not None and self.n_prompt > 1
        self._answer = Answer(model, first_choice, self._rules)
        self._drafts: deque[_Draft] = deque()
        # Tokens to append, not to sample, where logits come next; the second are those that have to be told of.
        self._script: deque[tuple[SequenceOf[int], int | None]] = deque()
        self._draft: _Draft | None = None  # waits for its prompt, which has to be computed again
        self._events: deque[Event] = deque()
        self._ends: list[Completion] = []  # without their text and tokens
        self._completions: list[Completion] | None = None
        self._started = self._last = time.perf_counter()
        self._first: float | None = None
        self.text_so_far = ""
        self._go_on_after(so_far)

    @property
    def prompt_tokens(self) -> list[int]:
        """The prompt's token ids."""
        return self.sequence.tokens[: self.n_prompt]

    @property
    def n_cached(self) -> int:
        """How many of the prompt's tokens another sequence had computed."""
        return self.sequence.n_cached

    @property
    def n_prompt_computed(self) -> int:
        """How many of the prompt's tokens are computed."""
        return self.n_prompt if self._first is not None else min(self.sequence.n_computed, self.n_prompt)

    @property
    def seed(self) -> int:
        """What its random choices come from: ``SamplingParams.seed``, or what was drawn where that is None."""
        return self.sequence.seed

    @property
    def choice(self) -> int:
        """The number of the choice."""
        return self._answer.choice

    @property
    def n_completion(self) -> int:
        """Tokens of the choice so far, those of ``so_far`` included."""
        return self._answer.n_tokens

    @property
    def n_reasoning(self) -> int:
        """How many of them are in a reasoning block."""
        return self._answer.n_reasoning

    @property
    def finished(self) -> bool:
        """Whether it has ended; events may still wait to be taken."""
        return self.finish_reason is not None or self.failure is not None

    @property
    def timings(self) -> Timings:
        """Where the time of the choice went so far."""
        first = self._last if self._first is None else self._first
        return Timings(prefill_s=first - self._started, decode_s=self._last - first)

    def take(self) -> list[Event]:
        """The events since the last call, without computing anything."""
        events = list(self._events)
        self._events.clear()
        return events

    def result(self) -> Completion:
        """Runs to the end and returns the whole answer, without the events that were taken before."""
        return self.results()[0]

    def results(self) -> list[Completion]:
        """The same for several choices; those that were cancelled before they began are missing."""
        events = list(self)
        if self._completions is None:
            self._completions = [_completed(end, [e for e in events if e.choice == end.choice]) for end in self._ends]
        return self._completions

    def cancel(self) -> None:
        """Ends it with "cancelled". Any thread.

        On CPU within milliseconds even while a prompt is computed; but a recurrent or hybrid model that computes others
        in the same step ends that step first.
        """
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

    # ---- for the engine, with its lock held

    @property
    def n_guesses_max(self) -> int:
        """How many guesses of what comes next may be of use.

        None where logits are wanted: each step keeps those after the last token only.
        """
        if self._first is None or self._reader is not None or not self.samples:
            return 0
        return self._rules.max_tokens - self.n_completion - 1

    def on_scored(self, n_tokens: int) -> None:
        """Takes note that so many tokens were computed, whose logits tell of those that follow them."""
        assert self._prompt_reader is not None
        sequence = self.sequence
        end = sequence.n_computed
        # A model whose memory cannot go back may compute a prompt twice.
        told = range(max(self._n_scored, end - n_tokens + 1), min(end + 1, self.n_prompt))
        entries = [self._prompt_reader.read(sequence, sequence.tokens[index], end - index) for index in told]
        if entries:
            self._n_scored = told.stop
            self._events.append(Event("", choice=self.choice, prompt_logprobs=tuple(entries)))
        sequence.is_scored = self._n_scored < self.n_prompt

    def on_token(self, token: int, n_after: int = 0) -> None:
        """Takes a token the engine sampled for this sequence, and how many more of its step come after it."""
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last
            if not self._draft_others():
                return
        logprobs = None if self._reader is None else self._reader.read(self.sequence, token)
        event = self._answer.take(token, logprobs)
        if event.finish_reason is None:
            self._events.append(event)
            return
        if n_after:
            self.sequence.drop(n_after)
        self._end(event)

    def on_guesses(self, n_drafted: int, tokens: SequenceOf[int]) -> None:
        """Takes the tokens of a step that had guesses: those that were right, and one more if sampling did not fail."""
        self.n_drafted += n_drafted
        self.n_accepted += len(tokens) - (self.sequence.failure is None)
        for n_after, token in zip(range(len(tokens) - 1, -1, -1), tokens, strict=True):
            self.on_token(token, n_after)
            if self.finished or self.is_between:
                self.sequence.failure = None  # it came after the end
                return

    def on_logits(self) -> None:
        """Takes note that all tokens are computed, where none is to be sampled."""
        if self._rules.max_tokens == 0:
            self._first = self._last = time.perf_counter()
            self.finish("length")
            return
        if not self._draft_others():
            return
        if self._draft is not None:
            draft, self._draft = self._draft, None
            self.samples = True
            self._adopt(draft)
            return
        tokens, index = self._script.popleft()
        if index is not None and self._reader is not None and self._answer.queue is not None:
            self._answer.queue.fill(index, self._reader.read(self.sequence, tokens[0]))
        self.sequence.tokens.extend(tokens)
        self.samples = not self._script

    def begin_next(self) -> bool:
        """Begins the next choice; whether there is anything to compute for it now."""
        self._turn_to_next()
        draft = self._drafts.popleft() if self._drafts else None
        sequence = self.sequence
        try:
            # Without its first token, the logits at the prompt's end are needed again.
            n_held = self.n_prompt - (draft is None)
            sampler = sequence.new_sampler(self.choice) if draft is None else draft.sampler
            sequence.rewind(self.n_prompt, n_held, sampler)
        except HoshikageError as error:
            self.fail(error)
            return False
        if draft is not None and sequence.n_pending:
            self.samples, self._draft = False, draft
        elif draft is not None:
            self._adopt(draft)
        return not self.finished and not self.is_between

    def fail(self, failure: HoshikageError) -> None:
        """Ends it by an error."""
        self.failure = failure
        self._free()

    def finish(self, reason: FinishReason) -> None:
        """Ends the choice between two tokens, or with "cancelled" all of them."""
        if reason == "length" and self.sequence.is_scored:  # half of its probabilities would be a wrong answer
            self.fail(ContextFullError("the context is full"))
            return
        if self.is_between:
            self._turn_to_next()
        self._end(self._answer.end(reason))

    # ---- inside

    def _go_on_after(self, so_far: SequenceOf[int]) -> None:
        """Takes up an answer: all is as if this generation had sampled these tokens and its events had been taken."""
        for token in so_far:
            event = self._answer.take(token)
            self.text_so_far += event.text
            if event.finish_reason is not None:
                self._end(Event("", (), event.finish_reason, self.choice))
                return
        if not so_far:
            return
        queue = self._answer.queue
        n_told = queue.first_waiting if queue is not None and queue.first_waiting is not None else len(so_far)
        self.sequence.accept(so_far)
        if self.choice + 1 < self.n_choices:  # the others need the logits at the end of the prompt
            self._script.extend([(so_far[:n_told], None)] if n_told else [])
        else:
            self.sequence.tokens.extend(so_far[:n_told])
        self._script.extend(([so_far[index]], index) for index in range(n_told, len(so_far)))
        self.samples = not self._script

    def _draft_others(self) -> bool:
        """Draws the first tokens of the choices to come, where that has not been done; False if that failed."""
        if self._drafts:
            return True
        try:
            for choice in range(self.choice + 1, self.n_choices):
                sampler = self.sequence.new_sampler(choice)
                token = self.sequence.draw(sampler)
                logprobs = None if self._reader is None else self._reader.read(self.sequence, token)
                self._drafts.append(_Draft(sampler, token, logprobs))
        except HoshikageError as error:
            self.fail(error)
            return False
        return True

    def _adopt(self, draft: _Draft) -> None:
        """Goes on from a first token that was drawn before; the sampler knows it."""
        self._first = self._last = time.perf_counter()
        self.sequence.tokens.append(draft.token)
        event = self._answer.take(draft.token, draft.logprobs)
        if event.finish_reason is None:
            self._events.append(event)
        else:
            self._end(event)

    def _turn_to_next(self) -> None:
        self.is_between = False
        self._answer = Answer(self.sequence.engine.model, self.choice + 1, self._rules)
        self._started = self._last = time.perf_counter()
        self._first = None
        self.n_drafted = self.n_accepted = 0

    def _end(self, event: Event) -> None:
        reason = event.finish_reason
        assert reason is not None
        self._events.append(event)
        self._ends.append(
            Completion(
                "",
                (),
                reason,
                self.n_prompt,
                self.n_completion,
                self.timings,
                self.n_reasoning,
                self.choice,
                n_cached=self.n_cached,
                n_drafted=self.n_drafted,
                n_accepted=self.n_accepted,
            )
        )
        if reason != "cancelled" and self.choice + 1 < self.n_choices:
            self.is_between = True
            return
        self.finish_reason = reason
        self._free()

    def _free(self) -> None:
        self.sequence.close()
        for draft in self._drafts:
            draft.sampler.close()
        self._drafts.clear()


def _completed(end: Completion, events: SequenceOf[Event]) -> Completion:
    return dataclasses.replace(
        end,
        text="".join(event.text for event in events),
        tokens=tuple(token for event in events for token in event.tokens),
        logprobs=tuple(entry for event in events for entry in (*event.logprobs, *event.rest_logprobs)),
        prompt_logprobs=tuple(entry for event in events for entry in event.prompt_logprobs),
    )
