"""Items while they are made: each tells of its beginning, of what is added, and of its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from hoshikage_server.api.chat_objects import ChosenLogprob
from hoshikage_server.api.free_text import FreeText
from hoshikage_server.api.responses.event_objects import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    InputDelta,
    InputDone,
    ItemAdded,
    ItemDone,
    OfItem,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    TextDone,
)
from hoshikage_server.api.responses.items import seal
from hoshikage_server.api.responses.objects import (
    CustomCall,
    FunctionCall,
    Item,
    ItemStatus,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    SearchCall,
    new_id,
)
from hoshikage_server.api.responses.tools import Called

Number = Callable[[], int]


class Growing(ABC):
    """An item that is being made.

    Args:
        prefix: Its id's.
        index: Its place among the items.
        number: Gives the next event its number.
    """

    def __init__(self, prefix: str, index: int, number: Number) -> None:
        self.id = new_id(prefix)
        self.index = index
        self.number = number

    @abstractmethod
    def begin(self) -> list[Event]:
        """The events of its beginning."""

    @abstractmethod
    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole item, and the events of its end."""

    def _added(self, item: Item) -> ItemAdded:
        return ItemAdded(output_index=self.index, item=item, sequence_number=self.number())

    def _done(self, item: Item) -> ItemDone:
        return ItemDone(output_index=self.index, item=item, sequence_number=self.number())

    def _event(self, kind: type[OfItem], **fields: Any) -> OfItem:
        return kind(item_id=self.id, output_index=self.index, sequence_number=self.number(), **fields)


class GrowingMessage(Growing):
    """What the model says."""

    def __init__(self, index: int, number: Number) -> None:
        super().__init__("msg", index, number)
        self._texts: list[str] = []
        self._logprobs: list[ChosenLogprob] = []

    def begin(self) -> list[Event]:
        """An empty item with an empty part."""
        return [self._added(self._item("in_progress")), self._event(PartAdded, part=OutputText(""))]

    def add(self, text: str, logprobs: tuple[ChosenLogprob, ...]) -> list[Event]:
        """More of it."""
        if not text and not logprobs:
            return []
        self._texts.append(text)
        self._logprobs += logprobs
        return [self._event(TextDelta, delta=text, logprobs=logprobs)]

    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole text, part and item."""
        part = OutputText("".join(self._texts), logprobs=tuple(self._logprobs))
        item = self._item(status, part)
        done = self._event(TextDone, text=part.text, logprobs=part.logprobs)
        return item, [done, self._event(PartDone, part=part), self._done(item)]

    def _item(self, status: ItemStatus, *content: OutputText) -> Message:
        return Message(id=self.id, role="assistant", content=content, status=status)


class GrowingReasoning(Growing):
    """What the model thinks.

    Args:
        index: Its place among the items.
        number: Gives the next event its number.
        is_sealed: It comes as `encrypted_content` too.
    """

    def __init__(self, index: int, number: Number, *, is_sealed: bool) -> None:
        super().__init__("rs", index, number)
        self._texts: list[str] = []
        self._is_sealed = is_sealed

    def begin(self) -> list[Event]:
        """An empty item with an empty part."""
        item = Reasoning(id=self.id, summary=(), content=(), status="in_progress")
        return [self._added(item), self._event(PartAdded, part=ReasoningText(""))]

    def add(self, text: str) -> list[Event]:
        """More of it."""
        self._texts.append(text)
        return [self._event(ReasoningDelta, delta=text)]

    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole text, part and item."""
        part = ReasoningText("".join(self._texts))
        sealed = seal(part.text) if self._is_sealed else msgspec.UNSET
        item = Reasoning(id=self.id, summary=(), content=(part,), encrypted_content=sealed, status=status)
        done = self._event(ReasoningDone, text=part.text)
        return item, [done, self._event(PartDone, part=part), self._done(item)]


class GrowingCall(Growing):
    """What the model wants to be called.

    Args:
        index: Its place among the items.
        number: Gives the next event its number.
        called: What it means to the client.
        call_id: As the engine named it.
    """

    prefix = "fc"

    def __init__(self, index: int, number: Number, called: Called, call_id: str | None) -> None:
        super().__init__(self.prefix, index, number)
        self._called = called
        self._call_id = call_id or new_id("call")
        self._arguments: list[str] = []

    def begin(self) -> list[Event]:
        """An item without arguments."""
        return [self._added(self._item("in_progress", ""))]

    def add(self, arguments: str) -> list[Event]:
        """More of its arguments."""
        self._arguments.append(arguments)
        return [self._event(ArgumentsDelta, delta=arguments)] if arguments else []

    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole arguments and item."""
        text = "".join(self._arguments)
        done = self._event(ArgumentsDone, name=self._called.name, arguments=text)
        item = self._item(status, text)
        return item, [done, self._done(item)]

    def _item(self, status: ItemStatus, text: str) -> Item:
        namespace = self._called.namespace or msgspec.UNSET
        return FunctionCall(
            id=self.id,
            call_id=self._call_id,
            name=self._called.name,
            arguments=text,
            namespace=namespace,
            status=status,
        )


class GrowingCustomCall(GrowingCall):
    """The call of a tool that takes free text."""

    prefix = "ctc"

    def __init__(self, index: int, number: Number, called: Called, call_id: str | None) -> None:
        super().__init__(index, number, called, call_id)
        self._free_text = FreeText()

    def add(self, arguments: str) -> list[Event]:
        """More of its text."""
        return self._delta(self._free_text.feed(arguments))

    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole text and item."""
        made = self._delta(self._free_text.finish())
        text = self._free_text.text
        made.append(self._event(InputDone, input=text))
        item = self._item(status, text)
        return item, [*made, self._done(item)]

    def _delta(self, text: str) -> list[Event]:
        return [self._event(InputDelta, delta=text)] if text else []

    def _item(self, status: ItemStatus, text: str) -> Item:
        namespace = self._called.namespace or msgspec.UNSET
        return CustomCall(
            id=self.id, call_id=self._call_id, name=self._called.name, input=text, namespace=namespace, status=status
        )


class GrowingSearch(GrowingCall):
    """A search for tools; OpenAI has no events for its arguments."""

    prefix = "tsc"

    def add(self, arguments: str) -> list[Event]:
        """More of its arguments."""
        self._arguments.append(arguments)
        return []

    def end(self, status: ItemStatus) -> tuple[Item, list[Event]]:
        """The whole item."""
        item = self._item(status, "".join(self._arguments))
        return item, [self._done(item)]

    def _item(self, status: ItemStatus, text: str) -> Item:
        return SearchCall(id=self.id, call_id=self._call_id, arguments=_whole_object(text), status=status)


def growing_call(index: int, number: Number, called: Called, call_id: str | None) -> GrowingCall:
    """A call as the client knows it."""
    kinds = {"function": GrowingCall, "custom": GrowingCustomCall, "tool_search": GrowingSearch}
    return kinds[called.kind](index, number, called, call_id)


def _whole_object(text: str) -> dict[str, Any]:
    """What is cut off is no object yet."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
