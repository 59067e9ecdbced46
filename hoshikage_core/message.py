"""Generated text becomes a message while it is generated: reasoning, content and tool calls, told as they grow.

llama.cpp's parsers read a text from its beginning each time. What they make of an unfinished text may still change at
its end, and what was told cannot be taken back: so a tool call is told once its name is certain, and everything else
only where it goes on from what was told before.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hoshikage_core import _arena, _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core.prompt import ChatPrompt

_INTERVAL_S = 0.02
_ANCHORS = (64, 16, 4, 1)
_SENTINEL = "\x00"


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """What a piece of an answer adds to one of its tool calls.

    Attributes:
        index: Which call, from 0.
        id: Its id, with the call's first delta only.
        name: The function's name, with the call's first delta only.
        arguments: What follows the arguments told so far.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


class MessageDelta(NamedTuple):
    """What a piece of text adds to the message.

    Attributes:
        content: What follows the content told so far.
        reasoning: What follows the reasoning told so far.
        tool_calls: What is new in the calls.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


_NOTHING = MessageDelta()


@dataclasses.dataclass
class _Call:
    id: str
    name: str
    arguments: str = ""


class MessageParser:
    """Takes an answer apart, piece by piece.

    The deltas together are the message, however the text was cut into pieces. Text that is not of the model's format
    never raises: from where it stops being so, it is content.

    Args:
        prompt: What the text was generated from.
        choice: Which of several answers to the prompt this is; their tool calls have different ids.
        clock: Seconds; reading the text again and again is limited to once in 20 ms.
    """

    def __init__(self, prompt: ChatPrompt, *, choice: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        _checks.instance("prompt", prompt, ChatPrompt, "a ChatPrompt")
        self._prompt = prompt
        self._choice = choice
        self._clock = clock
        self._next_s = clock()
        self._text = ""
        self._content = ""
        self._reasoning = ""
        self._calls: list[_Call] = []
        self._is_unread = False
        self._is_free = prompt.is_plain  # from here on, all text is content
        self._parser = None if prompt.is_plain else _new_parser(prompt)
        self._marks = _arena.marks(prompt.parser["arena"]) if prompt.parser else frozenset()
        self._prefix_content, self._prefix_reasoning = "", ""
        if self._parser is not None:
            self._skip_prefix()

    @property
    def message(self) -> dict[str, Any]:
        """The message told so far, as in OpenAI's chat API; ``content`` is None where there are only tool calls."""
        message: dict[str, Any] = {"role": "assistant", "content": self._content or (None if self._calls else "")}
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if self._calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self._calls
            ]
        return message

    def feed(self, text: str) -> MessageDelta:
        """Takes the next piece of text; returns what can be told now, which may be nothing yet."""
        if self._is_free:
            self._content += text
            return MessageDelta(text) if text else _NOTHING
        self._text += text
        self._is_unread = self._is_unread or bool(text)
        if not self._is_unread or self._clock() < self._next_s:
            return _NOTHING
        delta = self._read()
        self._next_s = self._clock() + _INTERVAL_S
        return delta

    def finish(self) -> MessageDelta:
        """Tells what was held back: no text follows."""
        if self._is_free:
            return _NOTHING
        before = self._mark()
        self._read()
        if not self._is_free:
            self._tell_end()
            self._is_free = True
        return self._since(before)

    def _skip_prefix(self) -> None:
        """Learns what the parser makes of a continued message's beginning, which is not to be told again."""
        begun = self._parse("") or {}
        self._prefix_reasoning = begun.get("reasoning_content", "")
        content = begun.get("content", "")
        more = (self._parse(_SENTINEL) or {}).get("content", "")
        if more.endswith(_SENTINEL):  # with what might have been the beginning of a marker
            self._prefix_content = more.removesuffix(_SENTINEL)
            return
        prefix = self._prompt.prefix_content
        self._prefix_content = prefix if prefix.startswith(content) else content

    def _parse(self, text: str, *, is_partial: bool = True) -> dict[str, Any] | None:
        data = text.encode("utf-8", "replace")
        assert self._parser is not None
        with self._parser as pointer:
            message = json.loads(call_text(lib.hsk_parser_parse, pointer, data, len(data), int(is_partial)))
        if not isinstance(message, dict):
            return None
        rest = message["rest"]
        may_go_on = any(mark.startswith(rest) for mark in self._marks)
        if not rest.strip() or may_go_on or message.get("tool_calls"):
            return message
        return message if rest.strip().startswith(self._prompt.thinking_end_tags) else None

    def _read(self) -> MessageDelta:
        before = self._mark()
        self._is_unread = False
        message = self._parse(self._text)
        if message is None:
            self._give_up()
        else:
            self._tell(message, is_last=False)
        return self._since(before)

    def _mark(self) -> tuple[int, int, list[int]]:
        return len(self._content), len(self._reasoning), [len(call.arguments) for call in self._calls]

    def _since(self, before: tuple[int, int, list[int]]) -> MessageDelta:
        n_content, n_reasoning, n_arguments = before
        calls = []
        for index, call_ in enumerate(self._calls):
            if index >= len(n_arguments):
                calls.append(ToolCallDelta(index, call_.id, call_.name, call_.arguments))
            elif len(call_.arguments) > n_arguments[index]:
                calls.append(ToolCallDelta(index, None, None, call_.arguments[n_arguments[index] :]))
        return MessageDelta(self._content[n_content:], self._reasoning[n_reasoning:], tuple(calls))

    def _tell(self, message: dict[str, Any], *, is_last: bool) -> None:
        self._reasoning += _growth(self._prefix_reasoning + self._reasoning, message.get("reasoning_content", ""))
        content = message.get("content", "")
        self._content += _growth(self._prefix_of(content) + self._content, content)
        calls = message.get("tool_calls", [])
        for index, found in enumerate(calls):
            name, arguments = found["function"]["name"], found["function"]["arguments"]
            if index == len(self._calls):
                # "{" is what llama.cpp begins with; the name may still be a part of one.
                is_certain = is_last or index < len(calls) - 1 or len(arguments) > 1
                if name not in self._prompt.tool_names or not is_certain:
                    return
                self._calls.append(_Call(self._id(index, found.get("id", "")), name))
            known = self._calls[index]
            known.arguments += _growth(known.arguments, arguments)

    def _prefix_of(self, content: str) -> str:
        """What of a content the continued message had already; some formats drop blanks at the beginning."""
        prefix = self._prefix_content
        return "" if prefix.isspace() and not content.startswith(prefix) else prefix

    def _id(self, index: int, own: str) -> str:
        prompt = self._prompt
        fits = prompt.id_length != 9 or re.fullmatch("[A-Za-z0-9]{9}", own)
        if own and prompt.keeps_ids and fits and own not in {call_.id for call_ in self._calls}:
            return own
        import hashlib  # takes long to import, and is seldom needed

        digest = hashlib.sha256(f"{prompt.id_seed}/{self._choice}/{index}".encode()).digest()
        letters = base64.b64encode(digest, b"ab").decode("ascii")[: prompt.id_length]
        return letters if prompt.id_length == 9 else f"call_{letters}"

    def _tell_end(self) -> None:
        """Tells the whole text, including what might have been the beginning of a marker."""
        longer = self._parse(self._text + _SENTINEL)
        if longer is not None:
            for key in ("content", "reasoning_content"):
                if longer.get(key, "").endswith(_SENTINEL):
                    longer[key] = longer[key][: -len(_SENTINEL)]
                    self._tell(longer, is_last=True)
                    return
        message = self._parse(self._text)
        if message is not None:
            self._tell(message, is_last=True)
        if not (self._content or self._reasoning or self._calls) and self._parse(self._text, is_partial=False) is None:
            self._content = self._text  # a call was begun and left: better seen than nothing at all

    def _give_up(self) -> None:
        """The text is not of the model's format: tells what is, and the rest as content."""
        low, high = 0, len(self._text)  # the first is read, the second is not
        while high - low > 1:
            middle = (low + high) // 2
            if self._parse(self._text[:middle]) is None:
                high = middle
            else:
                low = middle
        message = self._parse(self._text[:low])
        if message is not None:
            self._tell(message, is_last=False)
        self._content += self._rest(self._text[:low]) + self._text[low:]
        self._is_free = True

    def _rest(self, text: str) -> str:
        """The end of the text that is in nothing told so far."""
        if self._calls:
            return ""
        told = self._content or self._reasoning
        begin = 0
        for length in _ANCHORS:  # what was told may come from several places
            at = text.rfind(told[-length:]) if told else -1
            if at >= 0:
                begin = at + len(told[-length:])
                break
        rest = text[begin:]
        if not self._content and self._reasoning:
            for tag in self._prompt.thinking_end_tags:
                rest = rest.lstrip().removeprefix(tag)
        return rest


def _new_parser(prompt: ChatPrompt) -> Handle:
    data = json.dumps(prompt.parser).encode("utf-8")
    out = ffi.new("hsk_parser **")
    call(lib.hsk_parser_new, data, len(data), out)
    return Handle(out[0], lib.hsk_parser_free, "parser")


def _growth(told: str, text: str) -> str:
    """What ``text`` adds to what was told; nothing where it does not go on from there."""
    return text[len(told) :] if text.startswith(told) else ""
