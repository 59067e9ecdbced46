"""Answers as OpenAI's objects. Pure: frames in, bytes out."""

from __future__ import annotations

from typing import Literal

import msgspec

from hoshikage_server.engines.wire import Done

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]

_encode = msgspec.json.Encoder().encode


class Usage(msgspec.Struct, frozen=True):
    """How many tokens an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(msgspec.Struct, frozen=True):
    """What the model said."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The body of an answer that is not streamed."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: tuple[Choice, ...]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds."""

    role: str | None = None
    content: str | None = None
    refusal: str | msgspec.UnsetType | None = msgspec.UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """One answer's part of a chunk."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One event of a stream."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class Heading(msgspec.Struct, frozen=True):
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str


def usage_of(done: Done) -> Usage:
    """The usage an ended answer reports."""
    return Usage(done.n_prompt, done.n_completion, done.n_prompt + done.n_completion)


def finish_reason_of(done: Done) -> FinishReason:
    """The engine's reason in OpenAI's words."""
    return "length" if done.finish_reason == "length" else "stop"


def completion(heading: Heading, text: str, done: Done) -> bytes:
    """The body of an answer that is not streamed."""
    choice = Choice(0, AnswerMessage(text), finish_reason_of(done))
    return _encode(
        ChatCompletion(
            heading.id, heading.created, heading.model, heading.system_fingerprint, (choice,), usage_of(done)
        )
    )


class Chunks:
    """The chunks of one stream. A token's chunk is cut from a template, which costs a tenth of encoding it anew.

    Args:
        with_usage: The client asked for a usage chunk; then every other chunk carries `"usage": null`.
    """

    def __init__(self, heading: Heading, *, with_usage: bool) -> None:
        self._heading = heading
        self._usage: msgspec.UnsetType | None = None if with_usage else msgspec.UNSET
        mark = "\x00"
        # The last one: the heading comes before, and may hold anything.
        self._before, _, self._after = self._chunk(Delta(content=mark), None).rpartition(_encode(mark))

    def opening(self) -> bytes:
        """The chunk that names the role."""
        return self._chunk(Delta(role="assistant", content="", refusal=None), None)

    def text(self, text: str) -> bytes:
        """The chunk of a piece of text."""
        return self._before + _encode(text) + self._after

    def closing(self, done: Done) -> bytes:
        """The chunk that says why the answer ended."""
        return self._chunk(Delta(), finish_reason_of(done))

    def usage(self, done: Done) -> bytes:
        """The chunk of token counts, which has no choices."""
        return self._encode((), usage_of(done))

    def _chunk(self, delta: Delta, finish_reason: FinishReason | None) -> bytes:
        return self._encode((ChunkChoice(0, delta, finish_reason),), self._usage)

    def _encode(self, choices: tuple[ChunkChoice, ...], usage: Usage | msgspec.UnsetType | None) -> bytes:
        heading = self._heading
        return _encode(
            ChatChunk(heading.id, heading.created, heading.model, heading.system_fingerprint, choices, usage)
        )
