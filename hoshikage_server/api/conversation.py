"""The messages of a chat request: their structs, what of them cannot be, and how a chat template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api import free_text
from hoshikage_server.engines.sampling import Text
from hoshikage_server.errors import RequestError

MESSAGES_MAX = 10_000  # templates take their time: 0.1 s for 1,000 messages, and more than that for each further one


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


class FunctionCall(msgspec.Struct, frozen=True):
    """Which function, and its arguments as JSON text."""

    name: Text
    arguments: str


class _Call(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of the calls an assistant's message may hold."""

    id: Text


class ToolCall(_Call, frozen=True, tag="function"):
    """A call of a function."""

    function: FunctionCall


class CustomInput(msgspec.Struct, frozen=True):
    """Which custom tool, and its text."""

    name: Text
    input: str


class CustomCall(_Call, frozen=True, tag="custom"):
    """A call of a custom tool."""

    custom: CustomInput


class _Message(msgspec.Struct, frozen=True, tag_field="role"):
    """Base of all messages."""


class SystemMessage(_Message, frozen=True, tag="system"):
    """Instructions."""

    content: Content
    name: str | None = None


class DeveloperMessage(_Message, frozen=True, tag="developer"):
    """Instructions, under their newer name."""

    content: Content
    name: str | None = None


class UserMessage(_Message, frozen=True, tag="user"):
    """What a person said."""

    content: Content
    name: str | None = None


class AssistantMessage(_Message, frozen=True, tag="assistant"):
    """What the model said. As the last message it is the beginning of the answer."""

    content: Content | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall | CustomCall], Meta(min_length=1, max_length=1024)] | None = None
    function_call: FunctionCall | None = None
    audio: Any = None
    name: str | None = None
    reasoning_content: str | None = None


class ToolMessage(_Message, frozen=True, tag="tool"):
    """What came of a call."""

    content: Content
    tool_call_id: Text


class FunctionMessage(_Message, frozen=True, tag="function"):
    """What came of a call, as it was written before there were tools."""

    content: str | None
    name: Text


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
Messages = Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES_MAX)]


class _History:
    """The calls of the latest assistant message that have no result yet, by id."""

    def __init__(self) -> None:
        self._pending: dict[str, str] = {}
        self._path = ""

    def take(self, message: Message, path: str) -> None:
        """Takes the next message.

        Raises:
            RequestError: It answers no call, or a call was left unanswered.
        """
        if isinstance(message, (ToolMessage, FunctionMessage)):
            is_tool = isinstance(message, ToolMessage)
            key = message.tool_call_id if isinstance(message, ToolMessage) else _function_id(message.name)
            if self._pending.pop(key, None) is None:
                field, calls = ("tool_call_id", "tool_calls") if is_tool else ("name", "function_call")
                role, call = message.__struct_config__.tag, invalid.show(getattr(message, field))
                raise RequestError("result_without_call", param=f"{path}.{field}", call=call, role=role, calls=calls)
            return
        self.end()
        if isinstance(message, AssistantMessage):
            self._path = f"{path}.tool_calls" if message.tool_calls else f"{path}.function_call"
            self._pending = {call["id"]: "" for call in _calls(message)}

    def end(self) -> None:
        """There are no more messages, or one that is no result.

        Raises:
            RequestError: A call was left unanswered.
        """
        if self._pending:
            call = invalid.shorten(", ".join(self._pending))
            raise RequestError("call_without_result", param=self._path, call=call)


def check(messages: Sequence[Message]) -> None:
    """Refuses what no model here can take, and histories that OpenAI would refuse.

    Raises:
        RequestError: `param` names the message and its field.
    """
    history = _History()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _check_message(message, path)
        history.take(message, path)
    history.end()


def continues(messages: Sequence[Message], *, must_call: bool, is_json: bool) -> bool:
    """Whether the last message is the beginning of the answer. A call, or a JSON object, cannot begin with any text.

    Args:
        messages: The request's.
        must_call: The answer is a call.
        is_json: It is a JSON object.
    """
    last = messages[-1]
    if not isinstance(last, AssistantMessage) or _calls(last) or must_call:
        return False
    text = _text(last)
    return not (is_json and text) or text.lstrip().startswith("{")


def plain(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as a chat template takes them."""
    return [_plain(message) for message in messages]


def _check_message(message: Message, path: str) -> None:
    if isinstance(message, AssistantMessage):
        if message.audio is not None:
            raise RequestError("unsupported_parameter", param=f"{path}.audio")
        for index, call in enumerate(message.tool_calls or ()):
            if isinstance(call, ToolCall):
                check_arguments(call.function.arguments, f"{path}.tool_calls[{index}].function.arguments")
        if message.function_call is not None:
            check_arguments(message.function_call.arguments, f"{path}.function_call.arguments")
        _check_ids(message, path)
        if message.content is None and message.refusal is None and not _calls(message):
            raise RequestError("missing_required_parameter", param=f"{path}.content")
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if isinstance(part, RefusalPart) and not isinstance(message, AssistantMessage):
                where = f"{path}.content[{index}].type"
                raise RequestError("invalid_value", param=where, got="'refusal'", supported="'text'")
            if not isinstance(part, (TextPart, RefusalPart)):
                kind = invalid.show(part.__struct_config__.tag)
                where = f"{path}.content[{index}].type"
                raise RequestError("unsupported_value", param=where, got=kind, supported="'text'")


def _check_ids(message: AssistantMessage, path: str) -> None:
    seen: set[str] = set()
    for index, call in enumerate(message.tool_calls or ()):
        if call.id in seen:
            raise RequestError("duplicate_parameter", param=f"{path}.tool_calls[{index}].id")
        seen.add(call.id)


def check_arguments(arguments: str, param: str) -> None:
    """Refuses arguments of a call that are no JSON object.

    Raises:
        RequestError: `param` names them.
    """
    try:
        decoded = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError):
        decoded = None
    except RecursionError:
        raise RequestError("nested_too_deeply", param=param, limit=invalid.NESTING_MAX) from None
    invalid.check_shape(decoded, param)
    if not isinstance(decoded, dict):
        raise RequestError("arguments_not_json", param=param)


def _plain(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.__struct_config__.tag, "content": _text(message)}
    if isinstance(message, AssistantMessage):
        if message.reasoning_content:
            made["reasoning_content"] = message.reasoning_content
        if calls := _calls(message):
            made["tool_calls"] = calls
    elif isinstance(message, ToolMessage):
        made["tool_call_id"] = message.tool_call_id
    elif isinstance(message, FunctionMessage):
        made |= {"role": "tool", "tool_call_id": _function_id(message.name), "name": message.name}
    return made


def _calls(message: AssistantMessage) -> list[dict[str, Any]]:
    """Its calls as those of functions, a `function_call` among them."""
    named = [(call.id, _function(call)) for call in message.tool_calls or ()]
    if message.function_call is not None:
        named.append((_function_id(message.function_call.name), message.function_call))
    return [
        {"id": key, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
        for key, call in named
    ]


def _function(call: ToolCall | CustomCall) -> FunctionCall:
    if isinstance(call, ToolCall):
        return call.function
    return FunctionCall(call.custom.name, free_text.as_arguments(call.custom.input))


def _function_id(name: str) -> str:
    """Calls had no ids before there were tools."""
    return f"call_{name}"


def _text(message: Message) -> str:
    """One string: most chat templates know no parts."""
    content = message.content
    if content is None:
        return message.refusal or "" if isinstance(message, AssistantMessage) else ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text if isinstance(part, TextPart) else getattr(part, "refusal", "") for part in content)
