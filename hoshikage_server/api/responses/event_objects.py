"""The events of a streamed response, in the order in which they come.

response.created  response.in_progress
for each item:    response.output_item.added
  reasoning         response.content_part.added    response.reasoning_text.delta*  .done  response.content_part.done
  message           response.content_part.added    response.output_text.delta*     .done  response.content_part.done
  function_call     response.function_call_arguments.delta*  .done
  custom_tool_call  response.custom_tool_call_input.delta*   .done
                  response.output_item.done
response.completed | response.incomplete | error and response.failed
"""

from __future__ import annotations

import msgspec

from hoshikage_server.api.chat_objects import ChosenLogprob
from hoshikage_server.api.responses.objects import Item, OutputText, ReasoningText, Response


class Event(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """Base of all events; they are numbered from 0."""

    sequence_number: int


class Created(Event, frozen=True, tag="response.created", kw_only=True):
    """The model has taken the request."""

    response: Response


class InProgress(Event, frozen=True, tag="response.in_progress", kw_only=True):
    """It works on it."""

    response: Response


class Completed(Event, frozen=True, tag="response.completed", kw_only=True):
    """The end."""

    response: Response


class Incomplete(Event, frozen=True, tag="response.incomplete", kw_only=True):
    """The end, where there was no room for more."""

    response: Response


class Failed(Event, frozen=True, tag="response.failed", kw_only=True):
    """The end of a response that came to nothing."""

    response: Response


class Error(Event, frozen=True, tag="error", kw_only=True):
    """What it came to nothing of."""

    code: str | None
    message: str
    param: str | None


class ItemAdded(Event, frozen=True, tag="response.output_item.added", kw_only=True):
    """An item begins."""

    output_index: int
    item: Item


class ItemDone(Event, frozen=True, tag="response.output_item.done", kw_only=True):
    """It is whole."""

    output_index: int
    item: Item


class OfItem(Event, frozen=True, kw_only=True):
    """Base of what is told of an item while it is made."""

    item_id: str
    output_index: int


class _OfPart(OfItem, frozen=True, kw_only=True):
    content_index: int = 0  # an item has one part here


class PartAdded(_OfPart, frozen=True, tag="response.content_part.added", kw_only=True):
    """An item's text begins."""

    part: OutputText | ReasoningText


class PartDone(_OfPart, frozen=True, tag="response.content_part.done", kw_only=True):
    """It is whole."""

    part: OutputText | ReasoningText


class TextDelta(_OfPart, frozen=True, tag="response.output_text.delta", kw_only=True):
    """More of what the model says."""

    delta: str
    logprobs: tuple[ChosenLogprob, ...] = ()


class TextDone(_OfPart, frozen=True, tag="response.output_text.done", kw_only=True):
    """All of it."""

    text: str
    logprobs: tuple[ChosenLogprob, ...] = ()


class ReasoningDelta(_OfPart, frozen=True, tag="response.reasoning_text.delta", kw_only=True):
    """More of what it thinks."""

    delta: str


class ReasoningDone(_OfPart, frozen=True, tag="response.reasoning_text.done", kw_only=True):
    """All of it."""

    text: str


class ArgumentsDelta(OfItem, frozen=True, tag="response.function_call_arguments.delta", kw_only=True):
    """More of a call's arguments."""

    delta: str


class ArgumentsDone(OfItem, frozen=True, tag="response.function_call_arguments.done", kw_only=True):
    """All of them."""

    name: str
    arguments: str


class InputDelta(OfItem, frozen=True, tag="response.custom_tool_call_input.delta", kw_only=True):
    """More of a call's free text."""

    delta: str


class InputDone(OfItem, frozen=True, tag="response.custom_tool_call_input.done", kw_only=True):
    """All of it."""

    input: str
