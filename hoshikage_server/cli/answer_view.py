"""An answer on its way to the terminal: text to stdout as it is made, all else to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click
import msgspec

from hoshikage_server.cli.asking import Piece, Usage
from hoshikage_server.cli.output import Dim, is_terminal, readable, waiting
from hoshikage_server.cli.words import say
from hoshikage_server.errors import ServerError


class Answer(msgspec.Struct):
    """What has come of an answer.

    Attributes:
        text: The answer.
        reasoning: The reasoning before it.
        finish_reason: "stop" or "length"; None where it did not come to its end.
        usage: Its tokens.
        first_s: From the question to the first piece.
        total_s: From the question to the last.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    first_s: float | None = None
    total_s: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it was told, after its first token."""
        if self.usage is None or self.first_s is None or self.usage.completion_tokens < 2:
            return None
        ms = self.usage.predicted_ms
        seconds = self.total_s - self.first_s if ms is None else ms / 1000
        return (self.usage.completion_tokens - 1) / seconds if seconds > 0 else None

    def as_object(self) -> dict[str, object]:
        """The answer for other programs."""
        return {
            "content": self.text,
            "reasoning": self.reasoning or None,
            "finish_reason": self.finish_reason,
            "usage": None if self.usage is None else msgspec.structs.asdict(self.usage),
            "first_s": self.first_s,
            "total_s": self.total_s,
            "tokens_per_s": self.tokens_per_s,
        }


class AnswerView:
    """Shows answers.

    Args:
        shows_text: Whether the text goes to stdout; else it is only collected.

    Attributes:
        answer: The latest one, also where it was cut off.
    """

    def __init__(self, *, shows_text: bool = True) -> None:
        self.answer = Answer()
        self._shows_text = shows_text
        self._is_watched = is_terminal(sys.stdout)
        self._dim = Dim()
        self._reasons = False  # the cursor stands in reasoning

    def show(self, pieces: Iterator[Piece]) -> Answer:
        """Shows an answer to its end.

        Raises:
            ServerError: It broke off.
            BrokenPipeError: Nobody reads it any more.
        """
        self.answer = answer = Answer()
        self._reasons = False
        began = time.monotonic()
        text: list[str] = []
        reasoning: list[str] = []
        try:
            with waiting(say("chat_waiting")) as stop_waiting:
                for piece in pieces:
                    stop_waiting()
                    if answer.first_s is None and (piece.text or piece.reasoning):
                        answer.first_s = time.monotonic() - began
                    answer.finish_reason, answer.usage = piece.finish_reason, piece.usage
                    text.append(piece.text)
                    reasoning.append(piece.reasoning)
                    self._show(piece)
        except ServerError:
            self._end_line(text)
            raise
        finally:
            answer.total_s = time.monotonic() - began
            answer.text, answer.reasoning = "".join(text), "".join(reasoning)
        self._end_line(text)
        return answer

    def stats(self) -> None:
        """Tells how fast the answer was."""
        answer = self.answer
        if answer.usage is None:
            return
        told = [say("status_tokens", n=answer.usage.completion_tokens)]
        if answer.tokens_per_s is not None:
            told.append(say("status_tokens_per_s", n=f"{answer.tokens_per_s:.1f}"))
        if answer.first_s is not None:
            told.append(say("chat_first_after", time=say("time_s", s=f"{answer.first_s:.2f}")))
        self._dim.line(say("comma").join(told))

    def cut(self, max_tokens: int | None) -> None:
        """Says why it ends in the middle, if it does."""
        if self.answer.finish_reason != "length":
            return
        usage = self.answer.usage
        is_limit = max_tokens is not None and usage is not None and usage.completion_tokens >= max_tokens
        self._dim.line(say("answer_at_limit", n=max_tokens) if is_limit else say("answer_context_full"))

    def _show(self, piece: Piece) -> None:
        if piece.reasoning and self._dim.is_seen:
            self._dim.write(piece.reasoning)
            self._reasons = True
        if piece.text and self._shows_text:
            if self._reasons:
                self._dim.write("\n\n")
                self._reasons = False
            text = readable(piece.text) if self._is_watched else piece.text
            click.echo(text, nl=False, color=True)  # as it is: Click would look for escape sequences

    def _end_line(self, text: list[str]) -> None:
        last = next((piece for piece in reversed(text) if piece), "\n")
        if self._reasons:
            self._dim.write("\n")
        elif self._shows_text and not last.endswith("\n"):
            click.echo()
