"""Responses and their items as OpenAI writes them. An item is the same object in a request, a response and a list."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import msgspec

from hoshikage_server.api.chat_objects import ChosenLogprob
from hoshikage_server.api.usage import TimingsObject

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["in_progress", "completed", "incomplete", "failed"]
Role = Literal["user", "assistant", "system", "developer"]


def new_id(prefix: str) -> str:
    """An id that nobody can guess."""
    return f"{prefix}_{uuid.uuid4().hex}"


class _Part(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of the parts of items."""


class InputText(_Part, frozen=True, tag="input_text"):
    """What the model is told."""

    text: str


class OutputText(_Part, frozen=True, tag="output_text"):
    """What the model says."""

    text: str
    annotations: tuple[()] = ()
    logprobs: tuple[ChosenLogprob, ...] = ()


class Refusal(_Part, frozen=True, tag="refusal"):
    """What a model declined with; none here does."""

    refusal: str


class ReasoningText(_Part, frozen=True, tag="reasoning_text"):
    """What a model thinks."""

    text: str


class SummaryText(_Part, frozen=True, tag="summary_text"):
    """What a model thinks, in short; made elsewhere."""

    text: str


MessagePart = InputText | OutputText | Refusal


class _Item(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of items. Without an id, or without a status, only in a request."""

    id: str | None = None
    status: ItemStatus | None = None


class Message(_Item, frozen=True, tag="message", kw_only=True):
    """What somebody says."""

    role: Role
    content: tuple[MessagePart, ...]


class Reasoning(_Item, frozen=True, tag="reasoning", kw_only=True):
    """What the model thinks before it says something."""

    summary: tuple[SummaryText, ...]
    content: tuple[ReasoningText, ...] | None = None
    encrypted_content: str | msgspec.UnsetType | None = msgspec.UNSET


class FunctionCall(_Item, frozen=True, tag="function_call", kw_only=True):
    """The model wants a function of the client's to be called."""

    call_id: str
    name: str
    arguments: str
    namespace: str | msgspec.UnsetType | None = msgspec.UNSET


class FunctionOutput(_Item, frozen=True, tag="function_call_output", kw_only=True):
    """What came of it."""

    call_id: str
    output: str | tuple[InputText, ...]


class CustomCall(_Item, frozen=True, tag="custom_tool_call", kw_only=True):
    """The model wants a tool of the client's to be called that takes free text."""

    call_id: str
    name: str
    input: str
    namespace: str | msgspec.UnsetType | None = msgspec.UNSET


class CustomOutput(_Item, frozen=True, tag="custom_tool_call_output", kw_only=True):
    """What came of it."""

    call_id: str
    output: str | tuple[InputText, ...]


class SearchCall(_Item, frozen=True, tag="tool_search_call", kw_only=True):
    """The model wants the client to look for tools."""

    call_id: str
    arguments: dict[str, Any]
    execution: Literal["client"] = "client"


class SearchOutput(_Item, frozen=True, tag="tool_search_output", kw_only=True):
    """The tools that were found; the model has them from now on."""

    call_id: str
    tools: tuple[msgspec.Raw, ...]
    execution: Literal["client"] = "client"


class MoreTools(_Item, frozen=True, tag="additional_tools", kw_only=True):
    """Tools that the model has from now on."""

    role: Role
    tools: tuple[msgspec.Raw, ...]


Call = FunctionCall | CustomCall | SearchCall
Output = FunctionOutput | CustomOutput | SearchOutput
Item = Message | Reasoning | Call | Output | MoreTools


class InputDetails(msgspec.Struct, frozen=True):
    """What is in a prompt."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0  # OpenAI's prices; nothing is written anywhere


class OutputDetails(msgspec.Struct, frozen=True):
    """What is in an answer."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    """How many tokens a response took."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens"]


class ResponseError(msgspec.Struct, frozen=True):
    """Why there is no response."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class ReasoningObject(msgspec.Struct, frozen=True):
    """How much a model thinks; nothing makes a summary of it here."""

    effort: str | None = None
    summary: None = None


class TextObject(msgspec.Struct, frozen=True):
    """The shape of the text."""

    format: Any
    verbosity: str = "medium"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response, from its beginning to its end. What the request left open stands here as it was taken.

    Two keys are missing where they would be null: OpenAI's document allows them no null.
    """

    id: str
    created_at: int
    model: str
    status: Status = "in_progress"
    background: bool = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str]
    output: tuple[Item, ...] = ()
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | msgspec.UnsetType = msgspec.UNSET
    reasoning: ReasoningObject
    safety_identifier: str | msgspec.UnsetType = msgspec.UNSET
    service_tier: str = "default"
    store: bool = True
    temperature: float | None = None
    text: TextObject
    tool_choice: Any = "auto"
    tools: tuple[Any, ...] = ()
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    timings: TimingsObject | msgspec.UnsetType = msgspec.UNSET
    object: Literal["response"] = "response"
