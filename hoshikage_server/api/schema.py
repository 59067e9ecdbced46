"""The body of a chat request as a typed, frozen struct. Bytes are decoded once; no dict of a client travels past here.

docs/compatibility.md says of every field whether it is honoured, accepted without effect, or refused. Fields that are
not listed pass.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from hoshikage_server import invalid, json_faults
from hoshikage_server.api import conversation
from hoshikage_server.api.tools import (
    FunctionChoice,
    Functions,
    ResponseFormat,
    TextFormat,
    ToolChoice,
    Tools,
    schema_of,
    tools_form,
    tools_of_functions,
)
from hoshikage_server.engines.form import Form, ReasoningFormat
from hoshikage_server.engines.sampling import INT32_MAX, RepeatPenalty, Sampling, Text
from hoshikage_server.errors import RequestError
from hoshikage_server.messages import said
from hoshikage_server.registry.persona import AnswerLanguage

TokenCount = Annotated[int, Meta(ge=1, le=INT32_MAX)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Grammar = Annotated[str, Meta(min_length=1, max_length=65_536)]
Stop = Text | Annotated[list[Text], Meta(max_length=4)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]

T = TypeVar("T")

# Templates know three efforts (gpt-oss'); the others mean the nearest of them.
_TEMPLATE_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}

# What llama.cpp passes to templates itself, unless a variable of that name takes its place.
_OWN_VARIABLES: Final = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")
_REFUSED: Final = ("audio", "moderation", "web_search_options")
_HALF_PAIR_AT_END = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}[^\\]{0,5}\Z")
_BLOCK_BYTES = 1024 * 1024


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream shall contain beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Prediction(msgspec.Struct, frozen=True):
    """What the answer will probably be; only OpenAI's speed depends on it."""

    type: Literal["content"]
    content: str | Annotated[list[conversation.TextPart], Meta(min_length=1)]


class PromptCacheOptions(msgspec.Struct, frozen=True):
    """How OpenAI's cache works; the one here needs no options."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None


class GenerateRequest(Sampling, frozen=True, kw_only=True):
    """What every endpoint that generates takes beside its prompt; sampling values lie among its fields."""

    model: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | None = None
    n: Choices | None = None
    user: str | None = None
    # llama-server's and vLLM's
    grammar: Grammar | None = None
    json_schema: dict[str, Any] | None = None
    repetition_penalty: RepeatPenalty | None = None
    cache_prompt: bool | None = None
    return_progress: bool | None = None
    timings_per_token: bool | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    def sampling(self) -> Sampling:
        """How tokens shall be chosen, as far as the request says."""
        values = {name: getattr(self, name) for name in Sampling.__struct_fields__}
        if self.repeat_penalty is None:
            values["repeat_penalty"] = self.repetition_penalty
        return Sampling(**values)


class ChatRequest(GenerateRequest, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: conversation.Messages
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    verbosity: Verbosity | None = None
    modalities: list[str] | None = None
    # llama-server's and vLLM's
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_format: ReasoningFormat | None = None
    thinking_budget_tokens: Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None = None
    # Hoshikage's own
    language: AnswerLanguage | None = None
    # Accepted without effect
    prediction: Prediction | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: ServiceTier | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    # As tools were called before: `decode_chat` makes tools of them
    functions: Functions | None = None
    function_call: FunctionChoice | None = None
    # Refused
    audio: Any = None
    moderation: Any = None
    web_search_options: Any = None

    @property
    def token_limit(self) -> int | None:
        """max_completion_tokens, or max_tokens as it was called before."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def n_top_logprobs(self) -> int | None:
        """How many likely tokens to tell in place of each; None: nothing of probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def form(self) -> Form:
        """What the answer has to look like.

        Raises:
            RequestError: That cannot be; `param` names the field.
        """
        effort = self.reasoning_effort
        budget = self.thinking_budget_tokens
        schema = schema_of(self.response_format)
        tools = tools_form(self.tools, self.tool_choice, self.parallel_tool_calls)
        must_call = tools.get("tool_choice") == "required"
        return Form(
            json_schema=self.json_schema if schema is None else schema,
            grammar=self.grammar,
            **tools,
            continues_message=conversation.continues(self.messages, must_call=must_call, is_json=schema is not None),
            enable_thinking=None if effort is None else effort != "none",
            reasoning_format=self.reasoning_format or "auto",
            thinking_budget=None if budget == -1 else budget,
            template_kwargs={**template_variables(effort, self.verbosity), **(self.chat_template_kwargs or {})},
        )


_chat = msgspec.json.Decoder(ChatRequest)


def template_variables(effort: ReasoningEffort | None, verbosity: Verbosity | None) -> dict[str, Any]:
    """What chat templates are told of the effort and the verbosity that were asked for."""
    variables = {} if effort in (None, "none") else {"reasoning_effort": _TEMPLATE_EFFORTS.get(effort, effort)}
    return variables if verbosity is None else {**variables, "verbosity": verbosity}


def check_variables(variables: dict[str, Any] | None) -> None:
    """Refuses variables of a chat template that the request decides about elsewhere.

    Raises:
        RequestError: `param` names one.
    """
    invalid.check_free(variables, "chat_template_kwargs")
    for name in _OWN_VARIABLES:
        if name in (variables or {}):
            raise RequestError("template_variable_taken", param=f"chat_template_kwargs.{name}", name=name)


def decode(decoder: msgspec.json.Decoder[T], body: bytes, words: Mapping[str, str] = invalid.WORDS) -> T:
    """Reads a body.

    Args:
        decoder: Its reader.
        body: Its JSON.
        words: What its fields take that are one of a few words; see `invalid.from_validation`.

    Raises:
        RequestError: It is no JSON, or a field of it cannot be; `param` names the field.
    """
    try:
        _check_utf8(body)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid.from_validation(str(error), body, words) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        is_half = "surrogate" in str(error) or _HALF_PAIR_AT_END.search(body[-12:])
        reason = said("half_a_surrogate_pair") if is_half else json_faults.told(body, error)
        raise RequestError("invalid_json", reason=reason) from None
    except RecursionError:
        raise RequestError("invalid_json", reason=said("too_many_levels")) from None


def decode_chat(body: bytes) -> ChatRequest:
    """Reads and checks a chat request.

    Raises:
        RequestError: The body is no JSON, or a field of it cannot be; `param` names the field.
    """
    request = decode(_chat, body)
    check(request)
    for name in _REFUSED:
        if getattr(request, name) is not None:
            raise RequestError("unsupported_parameter", param=name)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise RequestError("max_tokens_twice", param="max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        raise RequestError("top_logprobs_without_logprobs", param="top_logprobs")
    if request.modalities not in (None, ["text"]):
        got = invalid.show(request.modalities)
        raise RequestError("unsupported_value", param="modalities", got=got, supported='["text"]')
    check_variables(request.chat_template_kwargs)
    conversation.check(request.messages)
    request = _with_tools(request)
    _check_shape(request)
    return request


def check(request: GenerateRequest) -> None:
    """Refuses combinations that no endpoint can honour.

    Raises:
        RequestError: `param` names one of the fields.
    """
    if request.stream_options is not None and not request.stream:
        raise RequestError("stream_options_without_stream", param="stream_options")
    if request.return_progress and not request.stream:
        raise RequestError("stream_options_without_stream", param="return_progress")
    if "\0" in (request.grammar or ""):  # it would end there
        raise RequestError("holds_nul", param="grammar")
    exclude(request, "grammar", "json_schema")
    exclude(request, "repetition_penalty", "repeat_penalty")
    invalid.check_free(request.json_schema, "json_schema")
    for name in ("grammar", "json_schema"):
        for other in ("ignore_eos", "min_tokens"):
            exclude(request, other, name)


def exclude(request: msgspec.Struct, name: str, other: str) -> None:
    """Refuses a field beside another.

    Raises:
        RequestError: Both are given.
    """
    if is_given(request, name) and is_given(request, other):
        raise RequestError("parameters_conflict", param=name, other=other)


def is_given(request: msgspec.Struct, name: str) -> bool:
    """Whether a field asks for something: zero, False and empty lists do not, and an empty schema does."""
    value = getattr(request, name)
    return bool(value) or isinstance(value, dict)


def _check_utf8(body: bytes) -> None:
    """The decoder does not look into the texts of fields that it does not know."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _BLOCK_BYTES):
        decoder.decode(body[start : start + _BLOCK_BYTES])
    decoder.decode(b"", final=True)


def _with_tools(request: ChatRequest) -> ChatRequest:
    """Functions are tools under their older name; only the answer tells them apart."""
    exclude(request, "functions", "tools")
    exclude(request, "function_call", "tool_choice")
    if request.functions is None:
        if request.function_call is not None:
            raise RequestError("only_with_functions", param="function_call")
        return request
    tools, choice = tools_of_functions(request.functions, request.function_call)
    return msgspec.structs.replace(request, tools=tools, tool_choice=choice, parallel_tool_calls=False)


def _check_shape(request: ChatRequest) -> None:
    """A grammar decides about every token: nothing else can decide as well."""
    has_format = request.response_format is not None and not isinstance(request.response_format, TextFormat)
    if has_format:
        for name in ("grammar", "json_schema", "ignore_eos", "min_tokens"):
            exclude(request, name, "response_format")
    if request.tools is not None and request.tool_choice != "none":
        for name in ("grammar", "ignore_eos", "min_tokens"):
            exclude(request, name, "tools")
    request.form()
