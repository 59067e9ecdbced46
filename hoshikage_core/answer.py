"""One answer: tokens become text, and stop strings, end tokens and limits end it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from hoshikage_core.logprobs import LogprobQueue, TokenLogprobs
from hoshikage_core.reasoning import ReasoningCounter
from hoshikage_core.text import StopScanner, Utf8Decoder

if TYPE_CHECKING:
    from hoshikage_core.model import Model

FinishReason = Literal["stop", "length", "cancelled"]


class Event(NamedTuple):
    """One step of an answer.

    Attributes:
        text: What may be shown now; whole characters, possibly none.
        tokens: The tokens sampled in this step. Their text may come with a later event: an unfinished character or the
            possible beginning of a stop string is held back.
        finish_reason: Set on the last event of a choice: "stop" (end token or stop string), "length" or "cancelled".
        choice: Which of several choices it belongs to.
        logprobs: Where they were asked for: those tokens of the answer whose text begins in this event's text, and
            special tokens before them.
        rest_logprobs: In the last event: those that are no part of the text, such as an end token and a stop string.
        prompt_logprobs: Where they were asked for: the next tokens of the prompt, before any of the answer.
    """

    text: str
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    choice: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()
    rest_logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()


class Rules(NamedTuple):
    """What all choices of a generation have in common.

    Attributes:
        stops: Texts that end the answer.
        max_tokens: Tokens it has at most.
        min_tokens: No stop string counts in the text of so many first tokens.
        shown_specials: Special tokens whose text belongs to the answer.
        thinking_tags: What opens a reasoning block, and what closes it.
        opening: The part of the prompt that already belongs to the answer.
        has_logprobs: Whether log-probabilities are told.
        call_starts: From these texts on, no stop string counts.
    """

    stops: tuple[str, ...]
    max_tokens: int
    min_tokens: int = 0
    shown_specials: Collection[int] = frozenset()
    thinking_tags: tuple[str, Sequence[str]] = ("", ())
    opening: str = ""
    has_logprobs: bool = False
    call_starts: Sequence[str] = ()


class Answer:
    """The text of one choice, made from its tokens.

    Attributes:
        choice: Its number.
        n_tokens: Its tokens so far.
        queue: Holds log-probabilities until their text is shown; None where they are not wanted.
    """

    __slots__ = ("_decoder", "_model", "_reasoning", "_rules", "_scanner", "choice", "n_tokens", "queue")

    def __init__(self, model: Model, choice: int, rules: Rules) -> None:
        self.choice = choice
        self.n_tokens = 0
        self.queue = LogprobQueue() if rules.has_logprobs else None
        self._model = model
        self._rules = rules
        self._decoder = Utf8Decoder()
        self._scanner = StopScanner(rules.stops, rules.call_starts)
        start_tag, end_tags = rules.thinking_tags
        self._reasoning = ReasoningCounter(start_tag, end_tags, rules.opening) if start_tag else None

    @property
    def n_reasoning(self) -> int:
        """Its tokens in a reasoning block."""
        return 0 if self._reasoning is None else self._reasoning.n_tokens

    def take(self, token: int, logprobs: TokenLogprobs | None = None) -> Event:
        """Counts a token and says what it brings: text, and perhaps the end."""
        self.n_tokens += 1
        rules, model = self._rules, self._model
        if model.is_end(token):
            if self.queue is not None:
                self.queue.add(self.n_tokens - 1, logprobs, b"", b"", 0)
            return self._event(self._flush(), token, "stop")
        piece = model.token_to_bytes(token, special=token in rules.shown_specials)
        if self._reasoning is not None:
            self._reasoning.feed(piece or model.token_to_bytes(token, special=True))
        if self.queue is None:
            text = self._decoder.decode(piece)
        else:
            pending = self._decoder.pending
            text = self._decoder.decode(piece)
            self.queue.add(self.n_tokens - 1, logprobs, piece, pending, len(text))
        if self.n_tokens > rules.min_tokens:
            text = self._scanner.feed(text)
            if self._scanner.stopped is not None:
                return self._event(text, token, "stop")
        if self.n_tokens >= rules.max_tokens:
            text += self._flush()
            return self._event(text, token, "length" if self._scanner.stopped is None else "stop")
        return self._event(text, token, None)

    def end(self, reason: FinishReason) -> Event:
        """Ends it between two tokens."""
        event = self._event(self._flush(), -1, reason)
        return event._replace(tokens=())

    def _event(self, text: str, token: int, reason: FinishReason | None) -> Event:
        if self.queue is None:
            return Event(text, (token,), reason, self.choice)
        shown = self.queue.shown(len(text))
        return Event(text, (token,), reason, self.choice, shown, () if reason is None else self.queue.rest())

    def _flush(self) -> str:
        text = self._scanner.feed(self._decoder.flush())
        return text if self._scanner.stopped is not None else text + self._scanner.flush()
