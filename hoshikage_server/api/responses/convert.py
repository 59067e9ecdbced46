"""Items as the messages of a conversation, which is what chat templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hoshikage_server.api import free_text
from hoshikage_server.api.conversation import check_arguments
from hoshikage_server.api.responses.items import KEPT, Placed, unseal
from hoshikage_server.api.responses.objects import (
    Call,
    CustomCall,
    Message,
    MoreTools,
    Output,
    Reasoning,
    Refusal,
    SearchCall,
    SearchOutput,
)
from hoshikage_server.api.responses.tools import SEARCH, function_name
from hoshikage_server.errors import RequestError

_INSTRUCTING = ("system", "developer")


class _Named(msgspec.Struct, frozen=True):
    name: Any = None


_named = msgspec.json.Decoder(_Named)


def messages_of(instructions: str | None, items: Sequence[Placed]) -> list[dict[str, Any]]:
    """A conversation.

    Instructions and the system's messages at its beginning become one message: many templates take no more. What the
    assistant thinks, says and calls between two messages of others is one message too, followed by what came of the
    calls, wherever that stands in the items.

    Raises:
        RequestError: A call has no result, or a result no call; `param` names it.
    """
    conversation = _Conversation(_results(items))
    if instructions:
        conversation.say("system", instructions)
    for placed in items:
        conversation.add(placed)
    messages = conversation.messages()
    if not messages:
        raise RequestError("missing_required_parameter", param="input")
    return messages


class _Conversation:
    def __init__(self, results: dict[str, str]) -> None:
        self._opening: list[str] = []
        self._messages: list[dict[str, Any]] = []
        self._results = results
        self._called: set[str] = set()
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def say(self, role: str, text: str) -> None:
        """Somebody but the assistant says something."""
        self.end_turn()
        if role in _INSTRUCTING and not self._messages:
            self._opening.append(text)
        else:
            self._messages.append({"role": role, "content": text})

    def messages(self) -> list[dict[str, Any]]:
        """All of it."""
        self.end_turn()
        opening = [{"role": "system", "content": "\n\n".join(self._opening)}] if self._opening else []
        return opening + self._messages

    def add(self, placed: Placed) -> None:
        """The next item."""
        item = placed.item
        if isinstance(item, Message):
            if item.role == "assistant":
                self._end_message()
                self._texts.append(_text(item))
            else:
                self.say(item.role, _text(item))
        elif isinstance(item, Reasoning):
            self._end_message()
            self._thoughts.append(_thought(item))
        elif isinstance(item, Call):
            self._call(item, placed.path)
        elif isinstance(item, MoreTools):
            return  # the model sees all tools at once
        elif item.call_id not in self._called:
            raise RequestError("output_without_call", param=_field(placed.path, "call_id"), call=item.call_id)
        else:
            self.end_turn()

    def end_turn(self) -> None:
        """The assistant has ended for now."""
        thought = "\n".join(filter(None, self._thoughts))
        if not (thought or self._texts or self._calls):
            return
        message: dict[str, Any] = {"role": "assistant", "content": "\n".join(self._texts)}
        if thought:
            message["reasoning_content"] = thought
        if self._calls:
            message["tool_calls"] = self._calls
        self._messages.append(message)
        for call in self._calls:
            self._messages.append({"role": "tool", "tool_call_id": call["id"], "content": self._results[call["id"]]})
        self._begin_turn()

    def _end_message(self) -> None:
        """What comes now belongs to the next message, unless calls show that this one goes on."""
        if self._texts and not self._calls:
            self.end_turn()

    def _call(self, item: Call, path: str) -> None:
        if item.call_id in self._called:
            raise RequestError("duplicate_parameter", param=_field(path, "call_id"))
        if item.call_id not in self._results:
            raise RequestError("call_without_output", param=_field(path, "call_id"), call=item.call_id)
        self._called.add(item.call_id)
        name, arguments = _function(item, path)
        function = {"name": name, "arguments": arguments}
        self._calls.append({"id": item.call_id, "type": "function", "function": function})


def _function(item: Call, path: str) -> tuple[str, str]:
    """A call's function for the model, and its arguments."""
    if isinstance(item, CustomCall):
        return function_name(item.name, item.namespace), free_text.as_arguments(item.input)
    if isinstance(item, SearchCall):
        name, arguments = SEARCH.name, msgspec.json.encode(item.arguments).decode()
    else:
        name, arguments = function_name(item.name, item.namespace), item.arguments or "{}"
    try:
        check_arguments(arguments, _field(path, "arguments"))
    except RequestError:
        if item.status != "incomplete":
            raise
        arguments = free_text.as_arguments(arguments)  # a call that was cut off is told as what there is of it
    return name, arguments


def _results(items: Sequence[Placed]) -> dict[str, str]:
    """What came of the calls, by their ids. Codex tells of one in several outputs while it goes on."""
    results: dict[str, str] = {}
    for item, _ in items:
        if isinstance(item, Output):
            before = results.get(item.call_id)
            results[item.call_id] = _result(item) if before is None else f"{before}\n{_result(item)}"
    return results


def _result(item: Output) -> str:
    if isinstance(item, SearchOutput):
        return msgspec.json.encode({"tools": [_named.decode(tool).name for tool in item.tools]}).decode()
    return item.output if isinstance(item.output, str) else "\n".join(part.text for part in item.output)


def _field(path: str, name: str) -> str:
    """Of an item that was kept the request has no such field."""
    return "input" if path == KEPT else f"{path}.{name}"


def _text(message: Message) -> str:
    return "\n".join(part.refusal if isinstance(part, Refusal) else part.text for part in message.content)


def _thought(item: Reasoning) -> str:
    if item.content:
        return "\n".join(part.text for part in item.content)
    if isinstance(item.encrypted_content, str):
        return unseal(item.encrypted_content) or ""
    return "\n".join(part.text for part in item.summary)
