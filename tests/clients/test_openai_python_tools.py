"""openai-python: tools and shapes, as dicts and as pydantic models."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from python_clients import Client
from shapes import (
    ARGUMENTS,
    MAX_TOKENS,
    MODEL,
    QUESTION,
    TOOLS,
    GetWeather,
    SetAlarm,
    Weather,
    named,
    response_format,
)

CHAT: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "max_tokens": MAX_TOKENS, "seed": 5}
ONE_CALL: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}


def create(client: Client, **options: Any) -> Any:
    return client.one(lambda api: api.chat.completions.create(**{**CHAT, **options})).choices[0]


def stream(client: Client, **options: Any) -> list[Any]:
    return client.all(lambda api: api.chat.completions.create(stream=True, **{**CHAT, **options}))


def assembled(chunks: list[Any]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls in a stream: the first two are told once, the arguments in pieces."""
    calls: dict[int, list[str]] = {}
    for delta in (call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()):
        if delta.index not in calls:
            assert delta.index == len(calls)
            assert delta.type == "function"
            calls[delta.index] = [delta.id, delta.function.name, ""]
        else:
            assert (delta.id, delta.function.name) == (None, None)
        calls[delta.index][2] += delta.function.arguments or ""
    return [(call_id, name, arguments) for call_id, name, arguments in calls.values()]


def test_a_required_call(client: Client) -> None:
    """required: there is a call, of one of the tools, with arguments that fit it, and nothing else."""
    choice = create(client, **ONE_CALL)
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert call.type == "function"
    assert call.id
    ARGUMENTS[call.function.name].model_validate_json(call.function.arguments)


def test_a_required_call_behind_the_assistants_words(client: Client) -> None:
    """They are no beginning of a call: it comes as the next turn, as with OpenAI."""
    spoken = [*QUESTION, {"role": "assistant", "content": "I will look it up."}]
    choice = create(client, messages=spoken, **ONE_CALL)
    [call] = choice.message.tool_calls
    assert choice.message.content is None
    ARGUMENTS[call.function.name].model_validate_json(call.function.arguments)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_named_call(client: Client, name: str) -> None:
    """A named function is called, and exactly once; OpenAI's end of such an answer is `stop`."""
    choice = create(client, tools=TOOLS, tool_choice=named(name))
    [call] = choice.message.tool_calls
    assert call.function.name == name
    assert choice.finish_reason in ("stop", "tool_calls")
    ARGUMENTS[name].model_validate_json(call.function.arguments)


@pytest.mark.parametrize("tool_choice", ["required", named("set_alarm")], ids=["required", "named"])
def test_a_streamed_call(client: Client, tool_choice: Any) -> None:
    """The pieces of a stream are the call of the plain answer with the same seed."""
    options = {**ONE_CALL, "tool_choice": tool_choice}
    [plain] = create(client, **options).message.tool_calls
    chunks = stream(client, **options)
    [(call_id, name, arguments)] = assembled(chunks)
    assert (name, arguments) == (plain.function.name, plain.function.arguments)
    assert call_id
    assert chunks[-1].choices[0].finish_reason == create(client, **options).finish_reason


@pytest.mark.parametrize("options", [{}, {"tool_choice": "auto"}, {"parallel_tool_calls": True}], ids=str)
def test_calls_that_may_be(client: Client, options: dict[str, Any]) -> None:
    """auto: text, calls, or both; the end says which. Whatever a model says is no error, plain or streamed."""
    for choice in (create(client, tools=TOOLS, **options), create(client, tools=TOOLS, max_tokens=3, **options)):
        if choice.finish_reason == "tool_calls":
            assert choice.message.tool_calls
        else:
            assert choice.message.content is not None or choice.finish_reason == "length"
    assert stream(client, tools=TOOLS, **options)[-1].choices[0].finish_reason in ("stop", "tool_calls", "length")


def test_no_calls(client: Client) -> None:
    """none: text, though there are tools."""
    message = create(client, tools=TOOLS, tool_choice="none", max_tokens=16).message
    assert message.tool_calls is None
    assert message.content is not None


def test_a_call_and_its_result(client: Client) -> None:
    """The SDK's own message goes back in, with the result; the answer to it is counted with both."""
    message = create(client, **ONE_CALL).message
    [call] = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sky": "grey"})}
    messages = [*QUESTION, message.model_dump(exclude_none=True), result]
    counts = [
        client.one(
            lambda api, told=told: api.chat.completions.create(
                model=MODEL, messages=told, tools=TOOLS, tool_choice="none", max_tokens=8
            )
        ).usage.prompt_tokens
        for told in (QUESTION, messages)
    ]
    assert counts[1] > counts[0] + 10


def test_the_stream_helper_of_tools(client: Client) -> None:
    """`.stream()` parses the arguments of strict tools into their pydantic models."""
    tools = [openai.pydantic_function_tool(GetWeather), openai.pydantic_function_tool(SetAlarm)]
    options = {**CHAT, **ONE_CALL, "tools": tools}
    events, final = client.helper(lambda api: api.chat.completions.stream(**options), "get_final_completion")
    [call] = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, (GetWeather, SetAlarm))
    [done] = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    assert "".join(event.arguments_delta for event in deltas) == done.arguments == call.function.arguments
    assert done.parsed_arguments == call.function.parsed_arguments


def test_parsed_tools(client: Client) -> None:
    """`.parse()` does so too."""
    options = {**CHAT, "tools": [openai.pydantic_function_tool(GetWeather)], "tool_choice": named("GetWeather")}
    [call] = client.one(lambda api: api.chat.completions.parse(**options)).choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)


def test_a_shape(client: Client) -> None:
    """json_schema, strict: the text is an instance, plain and streamed."""
    choice = create(client, response_format=response_format(Weather))
    Weather.model_validate_json(choice.message.content)
    assert choice.finish_reason == "stop"
    chunks = stream(client, response_format=response_format(Weather))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content


@pytest.mark.parametrize("begun", ["", " ", '{"city"', " {", "It rains in Naha."])
def test_a_shape_behind_the_assistants_words(client: Client, begun: str) -> None:
    """What an answer of this shape can begin with is continued; anything else is a turn that has been."""
    messages = [*QUESTION, {"role": "assistant", "content": begun}]
    options = {"messages": messages, "response_format": response_format(Weather), "max_tokens": MAX_TOKENS}
    choice = create(client, **options)
    assert choice.finish_reason == "stop"
    beginning = begun if "{" in begun else ""
    Weather.model_validate_json(beginning + choice.message.content)
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in stream(client, **options)) == choice.message.content
    )


def test_a_beginning_that_the_shape_does_not_have(client: Client) -> None:
    """A 400 that says so, about the messages."""
    messages = [*QUESTION, {"role": "assistant", "content": '{"no such key"'}]
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, messages=messages, response_format=response_format(Weather))
    assert caught.value.param == "messages"
    assert "begins with" in caught.value.message


def test_any_object(client: Client) -> None:
    """json_object: the text begins an object, and is one when it has ended by itself."""
    choice = create(client, response_format={"type": "json_object"}, max_tokens=100)
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_a_parsed_shape(client: Client) -> None:
    """`.parse()` and `.stream()` with a pydantic model give one of it."""
    options = {**CHAT, "response_format": Weather}
    plain = client.one(lambda api: api.chat.completions.parse(**options)).choices[0].message
    assert isinstance(plain.parsed, Weather)
    events, final = client.helper(lambda api: api.chat.completions.stream(**options), "get_final_completion")
    assert final.choices[0].message.parsed == plain.parsed
    [done] = [event for event in events if event.type == "content.done"]
    assert done.parsed == plain.parsed


def test_a_shape_that_was_cut(client: Client) -> None:
    """The SDK says so itself when max_tokens ends it."""
    options = {**CHAT, "response_format": Weather, "max_tokens": 2}
    with pytest.raises(openai.LengthFinishReasonError):
        client.one(lambda api: api.chat.completions.parse(**options))


def test_a_shape_beside_tools(client: Client) -> None:
    """With tools that need not be called, the text has the shape."""
    choice = create(client, tools=TOOLS, tool_choice="none", response_format=response_format(Weather))
    Weather.model_validate_json(choice.message.content)


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "strange"}}},
            "response_format",
        ),
        ("tools", [{"type": "function", "function": {"name": "no spaces"}}], "tools[0].function.name"),
        ("tool_choice", "required", "tool_choice"),
        ("tools", [{"type": "web_search"}], "tools[0].type"),
    ],
)
def test_what_cannot_be_a_shape(client: Client, field: str, value: Any, param: str) -> None:
    """A shape or a tool that cannot be is a BadRequestError that names the place."""
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **{field: value})
    assert str(caught.value.param).startswith(param)


def test_a_tool_that_is_not_there(client: Client) -> None:
    """tool_choice cannot name a function that is not among the tools."""
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, tools=TOOLS, tool_choice=named("launch"))
    assert str(caught.value.param).startswith("tool_choice")
