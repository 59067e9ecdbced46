"""An answer in the making, in the engine process: a generation's events in, frames out."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Iterable

from hoshikage_core import Event, Generation, MessageDelta, MessageParser, Model, TokenLogprobs
from hoshikage_server.engines import wire

_NOTHING = MessageDelta()


class Running:
    """Turns what a generation brings into frames.

    A frame tells of all the tokens up to it that were not told before, so what has been told can be made again from
    them. A choice's last piece and its end are one frame: nobody can have the one without the other.

    Args:
        generation: The answer.
        frame: What was asked.
    """

    def __init__(self, generation: Generation, frame: wire.Generate) -> None:
        self.generation = generation
        self._id = frame.id
        self._wants_progress = frame.wants_progress
        self._wants_timings = frame.wants_timings
        self._n_choices = frame.n_choices
        self._has_logprobs = frame.n_top_logprobs is not None
        self._choice = generation.choice
        self._n_before = generation.n_completion
        self._n_tokens = self._n_before
        self._n_new = 0
        self._untold: list[int] = []
        self._logprobs: list[TokenLogprobs] = []
        self._is_chat = frame.text is None
        self._echo: list[TokenLogprobs] = []
        self._n_unechoed = 0  # tokens of the prompt that are not to be told (again)
        if frame.n_prompt_logprobs is not None:
            self._echo = [TokenLogprobs(generation.prompt_tokens[0], 0.0, ())]
            self._n_unechoed = self._n_before_text(frame.text) + (frame.so_far.n_echoed if frame.so_far else 0)
        self._n_computed = 0
        self._parser = self._new_parser()
        if self._parser is not None:
            self._parser.feed(generation.text_so_far)

    @property
    def accepted(self) -> wire.Accepted:
        """The frame that says that it has begun."""
        generation = self.generation
        prompt = array("i", generation.prompt_tokens).tobytes()
        plan = b"" if generation.shape is None else generation.shape.to_json()
        return wire.Accepted(self._id, generation.n_prompt, prompt, generation.stops, plan)

    @property
    def is_first_token(self) -> bool:
        """Whether it has just made the first token of a choice."""
        return self._n_new == 1

    def frames(self) -> list[wire.Frame]:
        """What there is to tell since the last call."""
        made: list[wire.Frame] = []
        if self._wants_progress and self._n_computed < self.generation.n_prompt:
            self._tell_progress(made)
        for event in self.generation.take():
            if event.prompt_logprobs or self._echo:
                self._tell_echo(event, made)
            if frame := self._frame_of(event):
                made.append(frame)
        return made

    def _tell_progress(self, made: list[wire.Frame]) -> None:
        n_computed, n_prompt = self.generation.n_prompt_computed, self.generation.n_prompt
        if n_computed > self._n_computed:
            self._n_computed = n_computed
            ms = self.generation.timings.prefill_s * 1000
            made.append(wire.Progress(self._id, n_computed, n_prompt, ms, self.generation.n_cached))

    def _tell_echo(self, event: Event, made: list[wire.Frame]) -> None:
        entries = (*self._echo, *event.prompt_logprobs)
        self._echo.clear()
        told = entries[self._n_unechoed :]
        self._n_unechoed -= len(entries) - len(told)
        if told:
            made.append(wire.Token(self._id, "", (), self._choice, echo=tuple(map(self._logprob, told))))

    def _n_before_text(self, text: wire.TextPrompt | None) -> int:
        """How many tokens the prompt has before those of its text."""
        if text is None or text.tokens:
            return 0
        info = self._model.info
        return int(not text.text or (info.add_bos and self.generation.prompt_tokens[0] == info.bos))

    def _frame_of(self, event: Event) -> wire.Token | wire.Done | None:
        self._untold += event.tokens
        self._n_tokens += len(event.tokens)
        self._n_new += len(event.tokens)
        self._logprobs += event.logprobs
        added = self._taken_apart(event)
        if event.finish_reason is not None:
            return self._end(event.finish_reason, added, event.rest_logprobs)
        if not (added.content or added.reasoning or added.tool_calls):
            return None
        frame = wire.Token(
            self._id,
            added.content,
            tuple(self._untold),
            self._choice,
            added.reasoning,
            _tool_deltas(added),
            self._take_logprobs(added),
            self._timings if self._wants_timings else None,
        )
        self._untold.clear()
        return frame

    def _end(self, finish_reason: str, added: MessageDelta, rest: Iterable[TokenLogprobs]) -> wire.Done:
        generation = self.generation
        done = wire.Done(
            self._id,
            finish_reason,
            generation.n_prompt if self._choice == 0 else 0,
            self._n_tokens,
            added.content,
            self._tokens_per_s,
            self._choice,
            self._choice == self._n_choices - 1 or finish_reason == "cancelled",
            added.reasoning,
            _tool_deltas(added),
            self._take_logprobs(added),
            generation.n_reasoning,
            self._n_cached,
            self._timings,
            generation.sequence.engine.kept_bytes,
            tuple(map(self._logprob, rest)),
        )
        self._choice += 1
        self._n_tokens = self._n_new = 0
        self._untold.clear()
        self._parser = self._new_parser()
        return done

    def _taken_apart(self, event: Event) -> MessageDelta:
        if self._parser is None:
            return MessageDelta(event.text)
        added = self._parser.feed(event.text) if event.text else _NOTHING
        return added if event.finish_reason is None else _joined(added, self._parser.finish())

    def _new_parser(self) -> MessageParser | None:
        shape = self.generation.shape
        if shape is None or shape.is_plain:
            return None
        # Whose probabilities are told has to be known token by token; else text is not read again for each of them.
        clock = itertools.count().__next__ if self._has_logprobs else time.monotonic
        return MessageParser(shape, choice=self._choice, clock=clock)

    def _take_logprobs(self, added: MessageDelta) -> tuple[wire.Logprob, ...]:
        """Those of the tokens that became content; reasoning and calls have none, nor special tokens in a message."""
        taken, self._logprobs = self._logprobs, []
        if not taken or not added.content:
            return ()
        if self._is_chat:
            taken = [entry for entry in taken if self._model.token_to_bytes(entry.token)]
        if self._parser is not None:
            taken = self._tail(taken, len(added.content.encode("utf-8", "replace")))
        return tuple(map(self._logprob, taken))

    def _tail(self, entries: list[TokenLogprobs], n_bytes: int) -> list[TokenLogprobs]:
        """The last of them, which made so many bytes of text: what was before was a marker, or reasoning."""
        begin = len(entries)
        while begin > 0 and n_bytes > 0:
            begin -= 1
            n_bytes -= len(self._model.token_to_bytes(entries[begin].token))
        return entries[begin:]

    def _logprob(self, entry: TokenLogprobs) -> wire.Logprob:
        top = tuple(self._prob(other.token, other.logprob) for other in entry.top)
        return wire.Logprob(self._prob(entry.token, entry.logprob), top)

    def _prob(self, token: int, logprob: float) -> wire.TokenProb:
        return wire.TokenProb(token, self._model.token_to_bytes(token, special=True), logprob)

    @property
    def _model(self) -> Model:
        return self.generation.sequence.engine.model

    @property
    def _timings(self) -> wire.Timings:
        timings = self.generation.timings
        n_prompt = self.generation.n_prompt - self.generation.n_cached if self._choice == 0 else 0
        return wire.Timings(
            n_prompt,
            timings.prefill_s * 1000,
            self._n_new,
            timings.decode_s * 1000,
            self._n_cached,
            self.generation.n_drafted,
            self.generation.n_accepted,
        )

    @property
    def _n_cached(self) -> int:
        return self.generation.n_cached if self._choice == 0 else 0

    @property
    def _tokens_per_s(self) -> float | None:
        """How fast this engine decoded; its first token came with the prompt."""
        decode_s = self.generation.timings.decode_s
        return (self._n_new - 1) / decode_s if self._n_new > 1 and decode_s > 0 else None


def _joined(first: MessageDelta, second: MessageDelta) -> MessageDelta:
    return MessageDelta(
        first.content + second.content, first.reasoning + second.reasoning, first.tool_calls + second.tool_calls
    )


def _tool_deltas(added: MessageDelta) -> tuple[wire.ToolDelta, ...]:
    return tuple(wire.ToolDelta(d.index, d.id, d.name, d.arguments) for d in added.tool_calls)
