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


class _Call(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of calls."""

    id: str


class CallObject(_Call, frozen=True, tag="function"):
    """A call of a function."""

    function: FunctionObject


class CustomObject(msgspec.Struct, frozen=True):
    """Which custom tool, and its text."""

    name: str
    input: str


class CustomCallObject(_Call, frozen=True, tag="custom"):
    """A call of a custom tool."""

    custom: CustomObject


class AnswerMessage(msgspec.Struct, frozen=True):
    """What the model said."""

    content: str | None
    tool_calls: tuple[CallObject | CustomCallObject, ...] | msgspec.UnsetType = msgspec.UNSET
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


class CustomDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the call of a custom tool."""

    name: str | None = None
    input: str | None = None


class CallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to one of the calls: to that of a function, or of a custom tool."""

    index: int
    id: str | None = None
    type: Literal["function", "custom"] | None = None
    function: FunctionDelta | None = None
    custom: CustomDelta | None = None


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
