"""An answer as it grows: the engine's pieces in, OpenAI's items out, and the events that tell of each step."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import msgspec

from hoshikage_server.api.reply import logprobs_of
from hoshikage_server.api.responses.event_objects import Event
from hoshikage_server.api.responses.growing import Growing, GrowingCall, GrowingMessage, GrowingReasoning, growing_call
from hoshikage_server.api.responses.objects import (
    IncompleteDetails,
    InputDetails,
    Item,
    ItemStatus,
    OutputDetails,
    Response,
    ResponseUsage,
)
from hoshikage_server.api.responses.tools import Called
from hoshikage_server.api.usage import timings_of
from hoshikage_server.engines.wire import Done, Token, ToolDelta


class Output:
    """What has become of an answer so far. One item after the other: each is done before the next one begins.

    Args:
        called: What the call of a function means to the client.
        seals_reasoning: Reasoning comes as `encrypted_content` too.

    Attributes:
        items: Those that are done.
        number: Gives the next event its number.
    """

    def __init__(self, called: Callable[[str], Called], *, seals_reasoning: bool) -> None:
        self.items: list[Item] = []
        self.number: Callable[[], int] = itertools.count().__next__
        self._called = called
        self._seals_reasoning = seals_reasoning
        self._open: Growing | None = None
        self._n_calls = 0

    def take(self, frame: Token | Done) -> list[Event]:
        """The events of a piece; the last one ends all items."""
        made: list[Event] = []
        if frame.reasoning:
            made += self._grow_reasoning(frame.reasoning)
        if frame.text or (frame.logprobs and not frame.reasoning and not frame.tool_calls):
            made += self._grow_message(frame)
        for delta in frame.tool_calls:
            made += self._grow_call(delta)
        if isinstance(frame, Done):
            if self._open is None and not self.items:  # it has nothing to say
                made += self._grow_message(frame)
            made += self._end("incomplete" if frame.finish_reason == "length" else "completed")
        return made

    def whole(self, begun: Response, done: Done) -> Response:
        """The response, now that it has ended."""
        is_cut = done.finish_reason == "length"
        return msgspec.structs.replace(
            begun,
            status="incomplete" if is_cut else "completed",
            completed_at=None if is_cut else int(time.time()),
            incomplete_details=IncompleteDetails("max_output_tokens") if is_cut else None,
            output=tuple(self.items),
            usage=ResponseUsage(
                done.n_prompt,
                InputDetails(done.n_cached),
                done.n_completion,
                OutputDetails(done.n_reasoning),
                done.n_prompt + done.n_completion,
            ),
            timings=timings_of(done.timings),
        )

    def _grow_reasoning(self, text: str) -> list[Event]:
        made: list[Event] = []
        growing = self._open
        if not isinstance(growing, GrowingReasoning):
            made += self._end("completed")
            growing = GrowingReasoning(len(self.items), self.number, is_sealed=self._seals_reasoning)
            made += self._begin(growing)
        return made + growing.add(text)

    def _grow_message(self, frame: Token | Done) -> list[Event]:
        made: list[Event] = []
        growing = self._open
        if not isinstance(growing, GrowingMessage):
            made += self._end("completed")
            growing = GrowingMessage(len(self.items), self.number)
            made += self._begin(growing)
        return made + growing.add(frame.text, logprobs_of(frame.logprobs).content if frame.logprobs else ())

    def _grow_call(self, delta: ToolDelta) -> list[Event]:
        made: list[Event] = []
        growing = self._open
        if not isinstance(growing, GrowingCall) or delta.index >= self._n_calls:
            made += self._end("completed")
            called = self._called(delta.name or "")
            growing = growing_call(len(self.items), self.number, called, delta.id)
            self._n_calls = delta.index + 1
            made += self._begin(growing)
        return made + growing.add(delta.arguments)

    def _begin(self, growing: Growing) -> list[Event]:
        self._open = growing
        return growing.begin()

    def _end(self, status: ItemStatus) -> list[Event]:
        growing, self._open = self._open, None
        if growing is None:
            return []
        item, made = growing.end(status)
        self.items.append(item)
        return made
