"""Chat answers as OpenAI's objects, whole and in chunks."""

from __future__ import annotations

from typing import Literal

import msgspec

from hoshikage_server.api.heading import Heading
from hoshikage_server.api.usage import PromptProgress, TimingsObject, Usage

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token and its probability."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class ChosenLogprob(TokenLogprob, frozen=True):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: tuple[TokenLogprob, ...]


class Logprobs(msgspec.Struct, frozen=True):
    """The probabilities of the tokens of a piece of content."""

    content: tuple[ChosenLogprob, ...]
    refusal: None = None


class FunctionObject(msgspec.Struct, frozen=True):
    """Which function, and its arguments as JSON text."""

    name: str
    arguments: str


class CallObject(msgspec.Struct, frozen=True):
    """A call of a function."""

    id: str
    function: FunctionObject
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct, frozen=True):
    """What the model said."""

    content: str | None
    tool_calls: tuple[CallObject, ...] | msgspec.UnsetType = msgspec.UNSET
    function_call: FunctionObject | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    annotations: tuple[()] = ()


class Choice(msgspec.Struct, frozen=True):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatCompletion(Heading, frozen=True):
    """The body of an answer that is not streamed."""

    choices: tuple[Choice, ...]
    usage: Usage
    service_tier: str | msgspec.UnsetType
    timings: TimingsObject | msgspec.UnsetType
    object: Literal["chat.completion"] = "chat.completion"


class FunctionDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to a call."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to one of the calls."""

    index: int
    function: FunctionDelta
    id: str | None = None
    type: Literal["function"] | None = None


class Delta(msgspec.Struct, frozen=True):
    """What a chunk adds."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    refusal: msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: tuple[CallDelta, ...] | msgspec.UnsetType = msgspec.UNSET
    function_call: FunctionDelta | msgspec.UnsetType = msgspec.UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """One answer's part of a chunk."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: Logprobs | None = None


class ChatChunk(Heading, frozen=True):
    """One event of a stream."""

    choices: tuple[ChunkChoice, ...]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET
    prompt_progress: PromptProgress | msgspec.UnsetType = msgspec.UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
