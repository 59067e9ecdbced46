"""Messages, brought into a form that a template can render."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
_SYSTEM = ("system", "developer")

_TOOLS = """You can call functions. They are described here, one a line, as JSON with a JSON Schema of the arguments:
<tools>
{tools}
</tools>"""
_FORMAT = """
To call one, answer with a JSON object of its name and arguments between these tags, and nothing after them:
<tool_call>
{"name": "<function name>", "arguments": {<arguments>}}
</tool_call>
You are then given what the function returned."""


def merge_systems(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """System and developer messages that follow each other become one: many templates take one only."""
    return _merge_neighbours(messages, _SYSTEM)


def fold(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The conversation for templates that insist: one system message, and turns that alternate, the user's first."""
    systems = [message for message in messages if message.get("role") in _SYSTEM]
    others = [message for message in messages if message.get("role") not in _SYSTEM]
    if others and others[0].get("role") == "assistant":
        others = [{"role": "user", "content": ""}, *others]
    return _merge_neighbours([*merge_systems(systems), *others], ("user", "assistant"))


def in_order(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Results in the order of their calls, and with the names of their functions: most templates show no ids."""
    return [part for turn in _turns(messages) for part in (*turn[:1], *(result for _, result in _results(turn)))]


def one_by_one(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Of several calls each in a message of its own, before its result: for templates that show one call a message."""
    apart: list[Message] = []
    for turn in _turns(messages):
        calls = turn[0].get("tool_calls") or ()
        results = _results(turn)
        if len(calls) < 2:
            apart += [turn[0], *(result for _, result in results)]
            continue
        for index, call in enumerate(calls):
            said = turn[0] if index == 0 else {"role": turn[0]["role"], "content": ""}
            apart.append({**said, "tool_calls": [call]})
            apart += [result for at, result in results if min(at, len(calls) - 1) == index]
    return apart


def describe_tools(
    messages: Sequence[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]], *, how: bool
) -> list[Message]:
    """Tells of the tools in the system message, and ``how`` to call them if the template does not know of calls."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    text = _TOOLS.replace("{tools}", listed) + (_FORMAT if how else "")
    first = messages[0] if messages else {}
    if first.get("role") in _SYSTEM:
        return [_with_text(first, f"{text_of(first)}\n\n{text}"), *map(dict, messages[1:])]
    return [{"role": "system", "content": text}, *map(dict, messages)]


def as_text(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Calls and results as text of the assistant's and the user's, in turns that alternate."""
    plain: list[Message] = []
    for message in messages:
        if message.get("role") in ("tool", "function"):
            plain.append({"role": "user", "content": f"<tool_response>\n{text_of(message)}\n</tool_response>"})
        elif message.get("tool_calls"):
            calls = [_call_text(call) for call in message["tool_calls"]]
            kept = {key: value for key, value in message.items() if key != "tool_calls"}
            plain.append(_with_text(kept, "\n".join([text for text in [text_of(message)] if text] + calls)))
        else:
            plain.append(dict(message))
    return _merge_neighbours(plain, ("user",))


def text_of(message: Mapping[str, Any]) -> str:
    """A message's content as one text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[list[Message]]:
    """Each message, with the results that follow it."""
    turns: list[list[Message]] = []
    for message in messages:
        if turns and message.get("role") in ("tool", "function"):
            turns[-1].append(dict(message))
        else:
            turns.append([dict(message)])
    return turns


def _results(turn: Sequence[Message]) -> list[tuple[int, Message]]:
    """The results of a turn in the order of its calls, each with its call's place; those of no call come last."""
    calls = turn[0].get("tool_calls") or ()
    places = {call.get("id"): place for place, call in enumerate(calls)}
    found: list[tuple[int, Message]] = []
    for result in turn[1:]:
        place = places.get(result.get("tool_call_id"), len(calls))
        name = {"name": calls[place]["function"]["name"]} if place < len(calls) else {}
        found.append((place, name | result))
    return sorted(found, key=lambda pair: pair[0])


def _call_text(call: Mapping[str, Any]) -> str:
    function = call["function"]
    arguments = function.get("arguments", {})
    with contextlib.suppress(ValueError, RecursionError):  # what is no JSON, the model sees as it is
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    value = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{value}\n</tool_call>"


def _merge_neighbours(messages: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> list[Message]:
    runs: list[list[Mapping[str, Any]]] = []
    for message in messages:
        last = runs[-1][-1] if runs else {}
        same = last.get("role") == message.get("role") or {last.get("role"), message.get("role")} <= set(_SYSTEM)
        if same and message.get("role") in roles and not (last.get("tool_calls") or message.get("tool_calls")):
            runs[-1].append(message)
        else:
            runs.append([message])
    return [_with_text(run[0], _joined(run)) if len(run) > 1 else dict(run[0]) for run in runs]


def _joined(messages: Iterable[Mapping[str, Any]]) -> str:
    return "\n\n".join(filter(None, map(text_of, messages)))


def _with_text(message: Mapping[str, Any], text: str) -> Message:
    return {**message, "content": text}
