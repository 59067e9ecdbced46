"""Requests as typed, frozen structs. Bytes are decoded once; no dict of a client travels past this module.

Fields that are not listed pass without effect, as do OpenAI's that have none here (user, metadata, store, ...).
Fields that OpenAI or llama-server knows and this server cannot honour yet are refused by `_refuse`, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

from hoshikage_server.api import invalid
from hoshikage_server.engines.wire import (
    INT32_MAX,
    Penalty,
    RepeatPenalty,
    Sampling,
    Seed,
    Temperature,
    Text,
    TopK,
    Unit,
)
from hoshikage_server.errors import RequestError

T = TypeVar("T")

_MESSAGES_MAX = 10_000  # templates take their time: 0.1 s for 1,000 messages, and more than that for each further one
TokenCount = Annotated[int, Meta(ge=1, le=INT32_MAX)]


class _Part(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of the parts a message's content may have."""


class TextPart(_Part, frozen=True, tag="text"):
    """Text."""

    text: str


class RefusalPart(_Part, frozen=True, tag="refusal"):
    """What an assistant declined with."""

    refusal: str


class ImagePart(_Part, frozen=True, tag="image_url"):
    """Known to OpenAI, refused here."""


class AudioPart(_Part, frozen=True, tag="input_audio"):
    """Known to OpenAI, refused here."""


class FilePart(_Part, frozen=True, tag="file"):
    """Known to OpenAI, refused here."""


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart
Content = str | Annotated[list[Part], Meta(min_length=1)]


class _Message(msgspec.Struct, frozen=True, tag_field="role"):
    """Base of all messages."""


class SystemMessage(_Message, frozen=True, tag="system"):
    """Instructions."""

    content: Content


class DeveloperMessage(_Message, frozen=True, tag="developer"):
    """Instructions, under their newer name."""

    content: Content


class UserMessage(_Message, frozen=True, tag="user"):
    """What a person said."""

    content: Content


class AssistantMessage(_Message, frozen=True, tag="assistant"):
    """What the model said."""

    content: Content | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class ToolMessage(_Message, frozen=True, tag="tool"):
    """Known to OpenAI, refused here."""


class FunctionMessage(_Message, frozen=True, tag="function"):
    """Known to OpenAI, refused here."""


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream shall contain beside the answer."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """The shape of the answer; only text for now."""

    type: str


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    model: Text
    messages: Annotated[list[Message], Meta(min_length=1, max_length=_MESSAGES_MAX)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    stop: Text | Annotated[list[Text], Meta(max_length=4)] | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: Unit | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # llama-server's
    top_k: TopK | None = None
    min_p: Unit | None = None
    repeat_penalty: RepeatPenalty | None = None
    # Refused unless they ask for what happens anyway
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    web_search_options: Any = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def token_limit(self) -> int | None:
        """max_completion_tokens, or max_tokens as it was called before."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    def sampling(self) -> Sampling:
        """How tokens shall be chosen, as far as the request says."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.__struct_fields__})

    def plain_messages(self) -> list[dict[str, Any]]:
        """The messages as the engine's chat template takes them."""
        return [
            {"role": message.__struct_config__.tag, "content": _plain_content(message)}
            for message in self.messages
            if not isinstance(message, (ToolMessage, FunctionMessage))
        ]


# Fields of llama-server that change the answer and are not honoured yet: refused unless null or false.
_NOT_YET = """
    grammar json_schema ignore_eos min_tokens chat_template_kwargs typical_p top_n_sigma repeat_last_n
    dry_multiplier dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers xtc_probability xtc_threshold
    mirostat mirostat_tau mirostat_eta dynatemp_range dynatemp_exponent
    reasoning_format thinking_budget_tokens return_progress timings_per_token
""".split()  # noqa: SIM905
_Body = msgspec.defstruct(
    "_Body", [(name, Any, None) for name in _NOT_YET], bases=(ChatRequest,), frozen=True, kw_only=True
)
_decoder = cast("msgspec.json.Decoder[ChatRequest]", msgspec.json.Decoder(_Body))


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Reads a body.

    Raises:
        RequestError: It is no JSON, or a field of it cannot be; `param` names the field.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid.from_validation(str(error), body) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("invalid_json", reason=str(error)) from None
    except RecursionError:
        raise RequestError("invalid_json", reason="it is nested too deeply") from None


def decode_chat(body: bytes) -> ChatRequest:
    """Reads and checks a request.

    Raises:
        RequestError: The body is no JSON, or a field of it cannot be; `param` names the field.
    """
    request = decode(_decoder, body)
    _refuse(request)
    return request


def _refuse(request: ChatRequest) -> None:
    """Refuses what cannot be honoured yet."""
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise RequestError("max_tokens_twice", param="max_tokens")
    if request.stream_options is not None and not request.stream:
        raise RequestError("stream_options_without_stream", param="stream_options")
    for name in ("tools", "functions", "audio", "web_search_options", "top_logprobs"):
        if getattr(request, name) is not None:
            raise RequestError("unsupported_parameter", param=name)
    for name in _NOT_YET:
        value = getattr(request, name)
        if value is not None and value is not False:  # 0 is neither
            raise RequestError("unsupported_parameter", param=name)
    for name in ("tool_choice", "function_call"):
        if getattr(request, name) not in (None, "none"):
            raise _unsupported(name, getattr(request, name), "'none'")
    if request.n not in (None, 1):
        raise _unsupported("n", request.n, "1")
    if request.logprobs:
        raise _unsupported("logprobs", True, "false")
    if request.logit_bias:
        raise RequestError("unsupported_parameter", param="logit_bias")
    if request.response_format is not None and request.response_format.type != "text":
        raise _unsupported("response_format.type", request.response_format.type, "'text'")
    if request.modalities not in (None, ["text"]):
        raise _unsupported("modalities", request.modalities, '["text"]')
    for index, message in enumerate(request.messages):
        _refuse_message(message, f"messages[{index}]")


def _refuse_message(message: Message, path: str) -> None:
    if isinstance(message, (ToolMessage, FunctionMessage)):
        supported = "'system', 'developer', 'user', 'assistant'"
        raise _unsupported(f"{path}.role", message.__struct_config__.tag, supported)
    if isinstance(message, AssistantMessage):
        for name in ("tool_calls", "function_call", "audio"):
            if getattr(message, name) is not None:
                raise RequestError("unsupported_parameter", param=f"{path}.{name}")
        if message.content is None and message.refusal is None:
            raise RequestError("missing_required_parameter", param=f"{path}.content")
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if not isinstance(part, (TextPart, RefusalPart)):
                raise _unsupported(f"{path}.content[{index}].type", part.__struct_config__.tag, "'text'")


def _unsupported(param: str, value: object, supported: str) -> RequestError:
    return RequestError("unsupported_value", param=param, got=invalid.show(value), supported=supported)


def _plain_content(message: SystemMessage | DeveloperMessage | UserMessage | AssistantMessage) -> str:
    """One string: most chat templates know no parts."""
    content = message.content
    if content is None:
        return message.refusal or "" if isinstance(message, AssistantMessage) else ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text if isinstance(part, TextPart) else getattr(part, "refusal", "") for part in content)
