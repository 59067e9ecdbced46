"""Chat answers as they are told. Pure: frames in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from hoshikage_server.api.calls import CallDeltas, call_object, function_delta
from hoshikage_server.api.chat_objects import (
    AnswerMessage,
    CallObject,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChosenLogprob,
    ChunkChoice,
    Delta,
    FinishReason,
    Logprobs,
    TokenLogprob,
)
from hoshikage_server.api.heading import Heading
from hoshikage_server.api.sse import DONE, Source, event, pieces
from hoshikage_server.api.usage import PromptProgress, TimingsObject, Usage, progress_of, timings_of, usage_of
from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.wire import Done, Logprob, Progress, Token, TokenProb, ToolDelta

LOGPROB_MIN = -9999.0  # OpenAI's for "impossible": JSON has no infinity

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Options:
    """What a request wants to be told.

    Attributes:
        with_usage: A stream ends with a chunk of token counts; every other chunk carries `"usage": null`.
        with_logprobs: Each token's probability.
        with_timings: Timings in every chunk.
        with_tools: There are tools, so the answer may have no content.
        custom: The names of the tools that take free text.
        with_functions: The request called them functions, as they were called before: an answer has one call at most.
        service_tier: What to call the tier; None: nothing.
    """

    with_usage: bool = False
    with_logprobs: bool = False
    with_timings: bool = False
    with_tools: bool = False
    custom: frozenset[str] = frozenset()
    with_functions: bool = False
    service_tier: str | None = None


@dataclass
class Message:
    """An answer as it grows."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolDelta] = field(default_factory=list)  # without their arguments
    arguments: list[list[str]] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)

    def add(self, frame: Token | Done) -> None:
        """Takes a piece."""
        self.content.append(frame.text)
        self.reasoning.append(frame.reasoning)
        self.logprobs += frame.logprobs
        for delta in frame.tool_calls:
            if delta.index == len(self.calls):
                self.calls.append(delta)
                self.arguments.append([])
            self.arguments[delta.index].append(delta.arguments)

    def as_object(self, options: Options) -> AnswerMessage:
        """The whole message."""
        content = "".join(self.content)
        calls = tuple(
            call_object(call, "".join(arguments), options.custom)
            for call, arguments in zip(self.calls, self.arguments, strict=True)
        )
        first = calls[0] if calls and options.with_functions else None
        return AnswerMessage(
            content=None if calls and not content else content,
            tool_calls=msgspec.UNSET if options.with_functions else calls or msgspec.UNSET,
            function_call=first.function if isinstance(first, CallObject) else msgspec.UNSET,
            reasoning_content="".join(self.reasoning) or msgspec.UNSET,
        )


def finish_reason_of(done: Done, *, has_calls: bool, with_functions: bool = False) -> FinishReason:
    """The engine's reason in OpenAI's words."""
    if done.finish_reason == "length":
        return "length"
    if not has_calls:
        return "stop"
    return "function_call" if with_functions else "tool_calls"


def completion(heading: Heading, answer: Source, options: Options) -> bytes:
    """Waits for a whole answer, and makes the body of a response that is not streamed.

    Raises:
        ServerError: It broke off.
    """
    messages: dict[int, Message] = {}
    ends: list[Done] = []
    for frame in pieces(answer):
        messages.setdefault(frame.choice, Message()).add(frame)
        if isinstance(frame, Done):
            ends.append(frame)
    choices = tuple(
        Choice(
            done.choice,
            messages[done.choice].as_object(options),
            finish_reason_of(done, has_calls=bool(messages[done.choice].calls), with_functions=options.with_functions),
            logprobs_of(messages[done.choice].logprobs) if options.with_logprobs else None,
        )
        for done in ends
    )
    return _encode(
        ChatCompletion(
            *heading.beginning,
            choices=choices,
            usage=usage_of(ends),
            service_tier=options.service_tier or msgspec.UNSET,
            timings=timings_of(ends[-1].timings),
        )
    )


def logprobs_of(logprobs: list[Logprob] | tuple[Logprob, ...]) -> Logprobs:
    """Probabilities as OpenAI writes them."""
    return Logprobs(
        tuple(
            ChosenLogprob(*_token_logprob(logprob.chosen), tuple(TokenLogprob(*_token_logprob(t)) for t in logprob.top))
            for logprob in logprobs
        )
    )


def _token_logprob(prob: TokenProb) -> tuple[str, tuple[int, ...], float]:
    return prob.text.decode("utf-8", "replace"), tuple(prob.text), max(prob.logprob, LOGPROB_MIN)


class ChatEvents:
    """The chunks of one stream. A token's chunk is cut from a template, which costs a tenth of encoding it anew."""

    def __init__(self, heading: Heading, options: Options) -> None:
        self._heading = heading
        self._options = options
        self._usage: msgspec.UnsetType | None = None if options.with_usage else msgspec.UNSET
        self._ends: list[Done] = []
        self._choice = 0
        self._has_calls = False
        self._calls = CallDeltas(options.custom)
        self._cut_template()

    def opening(self) -> bytes:
        """The chunk that names the role."""
        content = None if self._options.with_tools else ""
        return self._chunk(Delta(role="assistant", content=content, refusal=None))

    def piece(self, frame: Piece) -> bytes:
        """The chunks of a piece; after the last one [DONE]."""
        if isinstance(frame, Progress):
            return self._event((), prompt_progress=progress_of(frame))
        opening = b""
        if frame.choice != self._choice:
            self._choice, self._has_calls = frame.choice, False
            self._calls = CallDeltas(self._options.custom)
            self._cut_template()
            opening = self.opening()
        if isinstance(frame, Done):
            rest = self._added(frame)
            if texts := self._calls.rest():
                rest += self._chunk(Delta(tool_calls=texts))
            return opening + rest + self._ended(frame)
        return opening + self._added(frame)

    def failed(self, body: bytes) -> bytes:
        """The event of an error."""
        return event(body)

    def _added(self, frame: Token | Done) -> bytes:
        is_text = bool(frame.text) and not frame.reasoning and not frame.tool_calls
        if is_text and not frame.logprobs and not self._options.with_timings:
            return self._before + _encode(frame.text) + self._after
        if not (frame.text or frame.reasoning or frame.tool_calls or frame.logprobs):
            return b""
        made = b""
        if frame.reasoning:
            made += self._chunk(Delta(reasoning_content=frame.reasoning), frame)
        if frame.text or frame.logprobs:
            made += self._chunk(Delta(content=frame.text), frame)
        if frame.tool_calls:
            self._has_calls = True
            made += self._called(frame)
        return made

    def _called(self, frame: Token | Done) -> bytes:
        if not self._options.with_functions:
            deltas = tuple(delta for delta in map(self._calls.of, frame.tool_calls) if delta is not None)
            return self._chunk(Delta(tool_calls=deltas), frame) if deltas else b""
        first = [function_delta(delta) for delta in frame.tool_calls if delta.index == 0]
        return b"".join(self._chunk(Delta(function_call=function), frame) for function in first)

    def _ended(self, done: Done) -> bytes:
        self._ends.append(done)
        reason = finish_reason_of(done, has_calls=self._has_calls, with_functions=self._options.with_functions)
        choice = ChunkChoice(done.choice, Delta(), reason)
        if not done.is_last:
            return self._event((choice,))
        end = self._event((choice,), timings=timings_of(done.timings))
        if self._options.with_usage:
            end += self._event((), usage=usage_of(self._ends))
        return end + DONE

    def _chunk(self, delta: Delta, frame: Token | Done | None = None) -> bytes:
        timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET
        logprobs = None
        if frame is not None and self._options.with_timings and isinstance(frame, Token):
            timings = timings_of(frame.timings)
        if frame is not None and frame.logprobs and delta.content is not msgspec.UNSET:
            logprobs = logprobs_of(frame.logprobs)
        return self._event((ChunkChoice(self._choice, delta, None, logprobs),), timings=timings)

    def _event(
        self,
        choices: tuple[ChunkChoice, ...],
        *,
        usage: Usage | msgspec.UnsetType | None = msgspec.UNSET,
        timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET,
        prompt_progress: PromptProgress | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = ChatChunk(
            *self._heading.beginning,
            choices=choices,
            usage=self._usage if usage is msgspec.UNSET else usage,
            service_tier=self._options.service_tier or msgspec.UNSET,
            timings=timings,
            prompt_progress=prompt_progress,
        )
        return event(_encode(chunk))

    def _cut_template(self) -> None:
        mark = "\x00"
        # The last one: the heading comes before, and may hold anything.
        self._before, _, self._after = self._chunk(Delta(content=mark)).rpartition(_encode(mark))
