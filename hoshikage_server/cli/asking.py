"""Asking a model: what is wished for, what comes back, and the interface of those that answer.

`backends.choose` finds one: a running server, or this process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

import msgspec

from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import ServerError

Message = dict[str, Any]  # as in OpenAI's chat API
OnProgress = Callable[[float], object]


class Wishes(msgspec.Struct, frozen=True):
    """How a conversation shall be answered.

    Attributes:
        model: Whom to ask: a model, a persona, or MODEL@PERSONA.
        sampling: How tokens are chosen; None among its values: as the persona, the model map or the file say.
        max_tokens: Tokens of the answer at most.
        thinking: Whether a reasoning model reasons; None: as the persona, the model map or its template say.
        language: What to answer in: "ja", "en" or "auto"; None: as the persona says.
    """

    model: str
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    thinking: bool | None = None
    language: str | None = None

    def body(self, messages: list[Message]) -> bytes:
        """The request of POST /v1/chat/completions, which every backend starts from.

        Raises:
            ServerError: A text is no UTF-8, as bytes of the command line may be.
        """
        made: dict[str, Any] = {"model": self.model, "messages": messages, **msgspec.to_builtins(self.sampling)}
        if self.max_tokens is not None:
            made["max_completion_tokens"] = self.max_tokens
        if self.thinking is not None:
            made["chat_template_kwargs"] = {"enable_thinking": self.thinking}
        if self.language is not None:
            made["language"] = self.language
        made |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            return msgspec.json.encode(made)
        except UnicodeEncodeError:
            raise ServerError("text_not_utf8") from None


class Usage(msgspec.Struct, frozen=True):
    """The tokens of an answer, under OpenAI's names, and how long they took, under llama-server's.

    Attributes:
        prompt_tokens: The question's, with all that came before it.
        completion_tokens: The answer's.
        cached_tokens: Those of the prompt that were known from before.
        reasoning_tokens: Those of the answer that were reasoning.
        prompt_ms: How long the prompt took; None where nobody said.
        predicted_ms: How long the answer took after its first token; None where nobody said.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_ms: float | None = None
    predicted_ms: float | None = None


class Piece(msgspec.Struct, frozen=True):
    """A piece of an answer.

    Attributes:
        text: What it adds to the answer.
        reasoning: What it adds to the reasoning.
        finish_reason: Why the answer ends here: "stop" or "length"; None while it goes on.
        usage: With the end.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class Backend(Protocol):
    """Somebody who answers. To be closed."""

    def models(self) -> list[str]:
        """Who can be asked, in the order of the list.

        Raises:
            ServerError: That cannot be told.
        """

    def require_persona(self, persona: str) -> None:
        """Refuses what is the name of no persona.

        Raises:
            ServerError: There is none of this name, or that cannot be told.
        """

    def greeting(self, model: str) -> str | None:
        """What a persona says before it is asked.

        Raises:
            ServerError: There is no such persona or model.
        """

    def prepare(self, model: str, on_progress: OnProgress) -> None:
        """Does what takes long before the first answer, so that it can be told how far it is, 0 to 1.

        Raises:
            ServerError: It cannot be done.
        """

    def no_gpu(self, model: str) -> str | None:
        """Why the CPU computes although a GPU was to, where the model is loaded and this can be told."""

    def stream(self, messages: list[Message], wishes: Wishes) -> Generator[Piece]:
        """The answer to a conversation. Closing the iterator cancels it.

        Raises:
            ServerError: It cannot be had, or broke off.
        """

    def close(self) -> None:
        """Gives everything back."""
