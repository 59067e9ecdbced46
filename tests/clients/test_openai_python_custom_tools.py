"""openai-python: custom tools, whose text a grammar binds, in chat and in responses."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest
from python_clients import Client
from shapes import MAX_TOKENS, MODEL, QUESTION

# As a script: strings escape what JSON would, and nothing can go on for ever.
LARK = """
start: "say " NAME LF ("quietly" | "twice"i)?
NAME: "\\"" ("Ann" | "Bo\\\\") "\\""
%import common.LF
"""
TEXT = re.compile(r'say "(Ann|Bo\\)"\n(quietly|[tT][wW][iI][cC][eE])?')
FORMATS: dict[str, tuple[str, str]] = {"lark": ("lark", LARK), "regex": ("regex", TEXT.pattern)}


def chat_tool(syntax: str, definition: str) -> dict[str, Any]:
    grammar = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"type": "custom", "custom": {"name": "act", "description": "Acts.", "format": grammar}}


def chat_options(syntax: str, definition: str) -> dict[str, Any]:
    choice = {"type": "custom", "custom": {"name": "act"}}
    tools = [chat_tool(syntax, definition)]
    return {"model": MODEL, "messages": QUESTION, "max_tokens": MAX_TOKENS, "tools": tools, "tool_choice": choice}


def response_options(syntax: str, definition: str) -> dict[str, Any]:
    grammar = {"type": "grammar", "syntax": syntax, "definition": definition}
    tools = [{"type": "custom", "name": "act", "format": grammar}]
    choice = {"type": "custom", "name": "act"}
    return {"model": MODEL, "input": "Act.", "max_output_tokens": MAX_TOKENS, "tools": tools, "tool_choice": choice}


def lenient(api: Any) -> Any:
    """The SDK as people have it: it has no type for the custom calls of chunks, and gives dicts."""
    return api.with_options(_extra_kwargs={"_strict_response_validation": False})


@pytest.mark.parametrize("syntax", FORMATS)
def test_a_custom_call(client: Client, syntax: str) -> None:
    """Its text matches the grammar, streamed as well; the SDK's message goes back in with the result."""
    options = chat_options(*FORMATS[syntax])
    message = client.one(lambda api: api.chat.completions.create(**options, temperature=0)).choices[0].message
    [call] = message.tool_calls
    assert (call.type, call.custom.name) == ("custom", "act")
    assert TEXT.fullmatch(call.custom.input)
    chunks = client.all(lambda api: lenient(api).chat.completions.create(stream=True, **options, temperature=0))
    deltas = [delta for chunk in chunks for choice in chunk.choices for delta in choice.delta.tool_calls or ()]
    assert "".join(delta.custom["input"] for delta in deltas) == call.custom.input
    result = {"role": "tool", "tool_call_id": call.id, "content": "Done."}
    messages = [*QUESTION, message.model_dump(exclude_none=True), result]
    again = {**options, "messages": messages, "tool_choice": "none", "max_tokens": 4}
    assert client.one(lambda api: api.chat.completions.create(**again)).choices[0].message.content is not None


@pytest.mark.parametrize("syntax", FORMATS)
def test_a_custom_call_of_a_response(client: Client, syntax: str) -> None:
    """The same with items: the helper puts the text together, and the conversation goes on behind the call."""
    options = response_options(*FORMATS[syntax])
    events, final = client.helper(lambda api: api.responses.stream(**options), "get_final_response")
    [call] = final.output
    assert call.type == "custom_tool_call"
    assert TEXT.fullmatch(call.input)
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == call.input
    output = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "Done."}
    again = client.one(
        lambda api: api.responses.create(
            model=MODEL, previous_response_id=final.id, input=[output], max_output_tokens=4
        )
    )
    assert again.output[0].type == "message"


@pytest.mark.parametrize(
    ("syntax", "definition", "words"),
    [("lark", 'start: "(" start ")" | "x"', "mentions itself"), ("regex", "(?=a)b", "looks ahead"),
     ("regex", "(a", "parenthesis")],
)  # fmt: skip
def test_a_grammar_that_cannot_be_enforced(client: Client, syntax: str, definition: str, words: str) -> None:
    """400, naming the format and the reason."""
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.one(lambda api: api.chat.completions.create(**chat_options(syntax, definition)))
    assert (caught.value.code, caught.value.param) == ("invalid_grammar", "tools[0].custom.format")
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.one(lambda api: api.responses.create(**response_options(syntax, definition)))
    assert (caught.value.code, caught.value.param) == ("invalid_grammar", "tools[0].format")
