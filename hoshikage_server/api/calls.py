"""Calls of tools as the chat API tells of them. Pure: the engine's pieces in, OpenAI's objects out."""

from __future__ import annotations

from collections.abc import Collection

from hoshikage_server.api.chat_objects import (
    CallDelta,
    CallObject,
    CustomCallObject,
    CustomDelta,
    CustomObject,
    FunctionDelta,
    FunctionObject,
)
from hoshikage_server.api.free_text import FreeText, text_of
from hoshikage_server.engines.wire import ToolDelta


def call_object(call: ToolDelta, arguments: str, custom: Collection[str]) -> CallObject | CustomCallObject:
    """A whole call.

    Args:
        call: Its beginning.
        arguments: All of them.
        custom: The names of the custom tools.
    """
    name = call.name or ""
    if name in custom:
        return CustomCallObject(call.id or "", CustomObject(name, text_of(arguments)))
    return CallObject(call.id or "", FunctionObject(name, arguments))


def function_delta(delta: ToolDelta) -> FunctionDelta:
    """What a piece adds to the call of a function."""
    is_new = delta.name is not None
    return FunctionDelta(delta.name, delta.arguments if delta.arguments or is_new else None)


class CallDeltas:
    """The calls of one answer, as they grow.

    Args:
        custom: The names of the custom tools.
    """

    def __init__(self, custom: Collection[str]) -> None:
        self._custom = custom
        self._texts: dict[int, FreeText] = {}

    def of(self, delta: ToolDelta) -> CallDelta | None:
        """What a piece adds; None: nothing that could be told yet."""
        is_new = delta.name is not None
        if is_new and delta.name in self._custom:
            self._texts[delta.index] = FreeText()
        text = self._texts.get(delta.index)
        if text is None:
            return CallDelta(delta.index, delta.id, "function" if is_new else None, function_delta(delta))
        added = text.feed(delta.arguments)
        if is_new:
            return CallDelta(delta.index, delta.id, "custom", custom=CustomDelta(delta.name, added))
        return CallDelta(delta.index, custom=CustomDelta(input=added)) if added else None

    def rest(self) -> tuple[CallDelta, ...]:
        """What the end of the answer adds: arguments that turned out to hold no text are told as they are."""
        rests = ((index, text.finish()) for index, text in self._texts.items())
        return tuple(CallDelta(index, custom=CustomDelta(input=rest)) for index, rest in rests if rest)
