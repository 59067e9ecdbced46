"""Continued texts as OpenAI's objects. Pure: frames in, bytes out."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

import msgspec

from hoshikage_server.api.completions_schema import CompletionRequest
from hoshikage_server.api.heading import Heading
from hoshikage_server.api.reply import LOGPROB_MIN
from hoshikage_server.api.sse import DONE, Source, event, pieces
from hoshikage_server.api.usage import PromptProgress, TimingsObject, Usage, progress_of, timings_of, usage_of
from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.wire import Done, Logprob, Progress, Token

FinishReason = Literal["stop", "length"]

_encode = msgspec.json.Encoder().encode


class Logprobs(msgspec.Struct, frozen=True):
    """Probabilities in the form that this endpoint has always had: one list a property."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
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
    n = wanted.n_made
    texts = list(beginnings)
    # Made as they come: those of a long prompt at once would hold up everybody.
    echo_lists = [_Lists(beginning, is_echo=True) for beginning in beginnings[::n]]
    lists = [_Lists(beginning) for beginning in beginnings]
    echoes: list[list[Logprobs]] = [[] for _ in echo_lists]
    logprobs: list[list[Logprobs]] = [[] for _ in lists]
    ends: list[Done] = []
    for frame in pieces(answer):
        texts[frame.choice] += frame.text
        logprobs[frame.choice].append(lists[frame.choice].of(_entries(frame)))
        if isinstance(frame, Done):
            ends.append(frame)
        elif frame.echo:
            echoes[frame.choice // n].append(echo_lists[frame.choice // n].of(frame.echo))

    def told(choice: int) -> Logprobs | None:
        return None if wanted.logprobs is None else _joined((*echoes[choice // n], *logprobs[choice]))

    choices = tuple(
        Choice(index, texts[done.choice], _finish_reason(done), told(done.choice))
        for index, done in enumerate(_best(ends, logprobs, wanted))
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
        self._lists = self._echo_lists = _Lists("")
        self._n_begun = 0  # characters of what the choice begins with that were sent
        self._echo: list[Logprobs] = []  # of its prompt, for the choices after the first

    def opening(self) -> bytes:
        """Nothing: the first event is the first piece."""
        return b""

    def piece(self, frame: Piece) -> bytes:
        """The events of a piece; after the last one [DONE]."""
        if isinstance(frame, Progress):
            return self._event((), prompt_progress=progress_of(frame))
        made = b""
        if frame.choice != self._choice:
            self._begin(frame.choice)
        if isinstance(frame, Token) and frame.echo:
            return self._echoed(frame.echo)
        if self._n_begun < len(self._beginnings[frame.choice]):
            made = self._rest_of_beginning()
        if frame.text or _entries(frame):
            timings = timings_of(frame.timings) if isinstance(frame, Token) else msgspec.UNSET
            made += self._event((self._text(frame),), timings=timings)
        return made + self._ended(frame) if isinstance(frame, Done) else made

    def failed(self, body: bytes) -> bytes:
        """The event of an error."""
        return event(body)

    def _begin(self, choice: int) -> None:
        beginning = self._beginnings[choice]
        self._choice, self._n_begun = choice, 0
        self._lists, self._echo_lists = _Lists(beginning), _Lists(beginning, is_echo=True)
        if choice % self._wanted.n_made == 0:
            self._echo = []

    def _text(self, frame: Token | Done) -> Choice:
        logprobs = None if self._wanted.logprobs is None else self._lists.of(_entries(frame))
        return Choice(frame.choice, frame.text, None, logprobs)

    def _echoed(self, entries: Sequence[Logprob]) -> bytes:
        """Tokens of the prompt, and the text that they stand for."""
        logprobs = self._echo_lists.of(entries)
        self._echo.append(logprobs)
        begin, self._n_begun = self._n_begun, self._echo_lists.n_characters
        text = self._beginnings[self._choice][begin : self._n_begun]
        return self._event((Choice(self._choice, text, None, logprobs),))

    def _rest_of_beginning(self) -> bytes:
        """What a choice begins with, as far as it was not told with the prompt's tokens."""
        text = self._beginnings[self._choice][self._n_begun :]
        self._n_begun += len(text)
        is_first = self._choice % self._wanted.n_made == 0
        logprobs = _joined(() if is_first else self._echo) if self._wanted.scores_prompt else None
        return self._event((Choice(self._choice, text, None, logprobs),))

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


class _Lists:
    """Makes lists of tokens that follow each other. One that goes on with a character begins behind that.

    Args:
        beginning: What the choice's text begins with.
        is_echo: Whether the tokens are those of that, else they come behind it.

    Attributes:
        n_characters: Of the text, as far as its tokens were told.
    """

    def __init__(self, beginning: str, *, is_echo: bool = False) -> None:
        self.n_characters = 0 if is_echo else len(beginning)
        self._is_first = is_echo
        self._has_space = beginning.startswith(" ")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, entries: Sequence[Logprob]) -> Logprobs:
        """Those of the next tokens."""
        lists = Logprobs([], [], [], [])
        for entry in entries:
            text, is_known = entry.chosen.text, not self._is_first
            if self._is_first:
                self._is_first = False
                if not self._has_space:  # some tokenizers put one before a text
                    text = text.removeprefix(b" ")
            lists.tokens.append(_text_of(text))
            lists.token_logprobs.append(max(entry.chosen.logprob, LOGPROB_MIN) if is_known else None)
            lists.top_logprobs.append(_top(entry) if is_known else None)
            lists.text_offset.append(self.n_characters)
            self.n_characters += len(self._decoder.decode(text))
        return lists


def _entries(frame: Token | Done) -> Sequence[Logprob]:
    """Of the answer's tokens."""
    return (*frame.logprobs, *frame.rest) if isinstance(frame, Done) else frame.logprobs


def _joined(parts: Sequence[Logprobs]) -> Logprobs:
    """One after the other."""
    joined = Logprobs([], [], [], [])
    for part in parts:
        joined.tokens.extend(part.tokens)
        joined.token_logprobs.extend(part.token_logprobs)
        joined.top_logprobs.extend(part.top_logprobs)
        joined.text_offset.extend(part.text_offset)
    return joined


def _best(ends: Sequence[Done], logprobs: Sequence[Sequence[Logprobs]], wanted: CompletionRequest) -> list[Done]:
    """Of each prompt's choices the likeliest by token, the best first; all of them, as they came, if all are wanted."""
    n_made, n_returned = wanted.n_made, wanted.n_returned
    if n_made == n_returned:
        return list(ends)

    def mean(done: Done) -> float:
        known = [one for part in logprobs[done.choice] for one in part.token_logprobs if one is not None]
        return sum(known) / max(1, len(known))

    groups = (ends[begin : begin + n_made] for begin in range(0, len(ends), n_made))
    return [done for group in groups for done in sorted(group, key=mean, reverse=True)[:n_returned]]


def _top(entry: Logprob) -> dict[str, float]:
    """The likeliest tokens, and the one that stands there if it is none of them."""
    top: dict[str, float] = {}
    for prob in (*entry.top, entry.chosen):
        top.setdefault(_text_of(prob.text), max(prob.logprob, LOGPROB_MIN))
    return top


def _text_of(token: bytes) -> str:
    """A token as text; as OpenAI wrote it where it is no whole characters."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _finish_reason(done: Done) -> FinishReason:
    return "length" if done.finish_reason == "length" else "stop"
