"""Continued texts as OpenAI's objects. Pure: frames in, bytes out."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

import msgspec

from hoshikage_server.api.completions_schema import CompletionRequest
from hoshikage_server.api.heading import Heading
from hoshikage_server.api.sse import DONE, Source, event, is_end
from hoshikage_server.api.usage import PromptProgress, TimingsObject, Usage, progress_of, timings_of, usage_of
from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.wire import Done, Logprob, Progress, Token

FinishReason = Literal["stop", "length"]
_LOGPROB_MIN = -9999.0  # JSON has no infinity

_encode = msgspec.json.Encoder().encode


class Logprobs(msgspec.Struct, frozen=True):
    """Probabilities in the form that this endpoint has always had: one list a property."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Choice(msgspec.Struct, frozen=True):
    """One text, or a piece of it."""

    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: Logprobs | None = None


class Completion(Heading, frozen=True):
    """The body of an answer, or one event of its stream."""

    choices: tuple[Choice, ...]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET
    prompt_progress: PromptProgress | msgspec.UnsetType = msgspec.UNSET
    object: Literal["text_completion"] = "text_completion"


def completion(heading: Heading, answer: Source, beginnings: Sequence[str], wanted: CompletionRequest) -> bytes:
    """Waits for all choices, and makes the body of a response that is not streamed.

    Args:
        heading: What identifies the answer.
        answer: Where its pieces come from.
        beginnings: What the text of each choice begins with.
        wanted: The request.

    Raises:
        ServerError: It broke off.
    """
    texts = list(beginnings)
    logprobs: list[list[Logprob]] = [[] for _ in beginnings]
    ends: list[Done] = []
    while not ends or not is_end(ends[-1]):
        frame = answer.next_frame(None)
        if frame is None or isinstance(frame, Progress):
            continue
        texts[frame.choice] += frame.text
        logprobs[frame.choice] += frame.logprobs
        if isinstance(frame, Done):
            ends.append(frame)
    choices = tuple(
        Choice(
            done.choice,
            texts[done.choice],
            _finish_reason(done),
            None if wanted.logprobs is None else _logprobs(logprobs[done.choice], _Offsets()),
        )
        for done in ends
    )
    return _encode(_object(heading, choices, usage=usage_of(ends), timings=timings_of(ends[-1].timings)))


class CompletionEvents:
    """The events of one stream; see `completion` for its arguments."""

    def __init__(self, heading: Heading, beginnings: Sequence[str], wanted: CompletionRequest) -> None:
        self._heading = heading
        self._beginnings = beginnings
        self._wanted = wanted
        self._usage: msgspec.UnsetType | None = None if wanted.wants_usage else msgspec.UNSET
        self._ends: list[Done] = []
        self._choice = -1
        self._offsets = _Offsets()

    def opening(self) -> bytes:
        """Nothing: the first event is the first piece."""
        return b""

    def piece(self, frame: Piece) -> bytes:
        """The events of a piece; after the last one [DONE]."""
        if isinstance(frame, Progress):
            return self._event((), prompt_progress=progress_of(frame))
        made = b""
        if frame.choice != self._choice:
            self._choice, self._offsets = frame.choice, _Offsets()
            if beginning := self._beginnings[frame.choice]:
                made = self._event((Choice(frame.choice, beginning, None),))
        if frame.text or frame.logprobs:
            timings = timings_of(frame.timings) if isinstance(frame, Token) else msgspec.UNSET
            made += self._event((self._text(frame),), timings=timings)
        return made + self._ended(frame) if isinstance(frame, Done) else made

    def failed(self, body: bytes) -> bytes:
        """The event of an error."""
        return event(body)

    def _text(self, frame: Token | Done) -> Choice:
        logprobs = None if self._wanted.logprobs is None else _logprobs(frame.logprobs, self._offsets)
        return Choice(frame.choice, frame.text, None, logprobs)

    def _ended(self, done: Done) -> bytes:
        self._ends.append(done)
        choice = Choice(done.choice, "", _finish_reason(done))
        if not done.is_last:
            return self._event((choice,))
        end = self._event((choice,), timings=timings_of(done.timings))
        if self._wanted.wants_usage:
            end += self._event((), usage=usage_of(self._ends))
        return end + DONE

    def _event(
        self,
        choices: tuple[Choice, ...],
        *,
        usage: Usage | msgspec.UnsetType | None = msgspec.UNSET,
        timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET,
        prompt_progress: PromptProgress | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        usage = self._usage if usage is msgspec.UNSET else usage
        made = _object(self._heading, choices, usage=usage, timings=timings, prompt_progress=prompt_progress)
        return event(_encode(made))


def _object(
    heading: Heading,
    choices: tuple[Choice, ...],
    *,
    usage: Usage | msgspec.UnsetType | None,
    timings: TimingsObject | msgspec.UnsetType,
    prompt_progress: PromptProgress | msgspec.UnsetType = msgspec.UNSET,
) -> Completion:
    return Completion(
        *heading.beginning,
        choices=choices,
        usage=usage,
        timings=timings,
        prompt_progress=prompt_progress,
    )


class _Offsets:
    """Where in the text of a choice its tokens begin: one that goes on with a character begins behind that."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._n_characters = 0

    def next(self, token: bytes) -> int:
        """The next token's."""
        begin = self._n_characters
        self._n_characters += len(self._decoder.decode(token))
        return begin


def _logprobs(logprobs: Sequence[Logprob], offsets: _Offsets) -> Logprobs:
    """Probabilities of the next piece of a choice."""
    return Logprobs(
        [_text_of(logprob.chosen.text) for logprob in logprobs],
        [max(logprob.chosen.logprob, _LOGPROB_MIN) for logprob in logprobs],
        [{_text_of(prob.text): max(prob.logprob, _LOGPROB_MIN) for prob in logprob.top} for logprob in logprobs],
        [offsets.next(logprob.chosen.text) for logprob in logprobs],
    )


def _text_of(token: bytes) -> str:
    """A token as text; as OpenAI wrote it where it is no whole characters."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _finish_reason(done: Done) -> FinishReason:
    return "length" if done.finish_reason == "length" else "stop"
