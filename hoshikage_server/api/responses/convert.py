"""Items as the messages of a conversation, which is what chat templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hoshikage_server.api.conversation import check_arguments
from hoshikage_server.api.responses import free_text
from hoshikage_server.api.responses.items import KEPT, Placed, unseal
from hoshikage_server.api.responses.objects import (
    CustomCall,
    CustomOutput,
    FunctionCall,
    FunctionOutput,
    Message,
    Reasoning,
    Refusal,
)
from hoshikage_server.api.responses.tools import function_name
from hoshikage_server.errors import RequestError

_INSTRUCTING = ("system", "developer")


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
        elif isinstance(item, (FunctionCall, CustomCall)):
            self._call(item, placed.path)
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

    def _call(self, item: FunctionCall | CustomCall, path: str) -> None:
        if item.call_id in self._called:
            raise RequestError("duplicate_parameter", param=_field(path, "call_id"))
        if item.call_id not in self._results:
            raise RequestError("call_without_output", param=_field(path, "call_id"), call=item.call_id)
        self._called.add(item.call_id)
        if isinstance(item, CustomCall):
            arguments = free_text.as_arguments(item.input)
        else:
            arguments = item.arguments or "{}"
            check_arguments(arguments, _field(path, "arguments"))
        function = {"name": function_name(item.name, item.namespace), "arguments": arguments}
        self._calls.append({"id": item.call_id, "type": "function", "function": function})


def _results(items: Sequence[Placed]) -> dict[str, str]:
    """What came of the calls, by their ids."""
    results: dict[str, str] = {}
    for item, path in items:
        if isinstance(item, (FunctionOutput, CustomOutput)):
            if item.call_id in results:
                raise RequestError("duplicate_parameter", param=_field(path, "call_id"))
            output = item.output
            results[item.call_id] = output if isinstance(output, str) else "\n".join(part.text for part in output)
    return results


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
