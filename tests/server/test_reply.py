"""Answers as OpenAI's objects: all that an engine can send, plain and streamed, checked against the SDK's own types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from api_client import Api
from bodies import CUSTOM_TOOL, FUNCTION, TOOL
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage

from hoshikage_server.api import reply
from hoshikage_server.api.heading import Heading
from hoshikage_server.engines.wire import Done, Logprob, Token, TokenProb

ARGUMENTS = '{"a":"x"}'


def plain(api: Api, text: str, **fields: object) -> ChatCompletion:
    result = api.chat(text, **fields)
    assert result.status_code == 200, result.text
    return ChatCompletion.model_validate(result.json, strict=True)


def chunks(api: Api, text: str, **fields: object) -> list[ChatCompletionChunk]:
    *events, done = api.stream(text, **fields)
    assert done is None
    return [ChatCompletionChunk.model_validate(event, strict=True) for event in events]


def assembled(streamed: list[ChatCompletionChunk]) -> ChatCompletion:
    """As the SDK puts chunks together."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in streamed:
        state.handle_chunk(chunk)
    return ChatCompletion.model_validate(state.get_final_completion().model_dump())


def _calls(message: ChatCompletionMessage) -> list[tuple[str, str, str]]:
    return [
        (call.id, call.function.name, call.function.arguments)
        if call.type == "function"
        else (call.id, call.custom.name, call.custom.input)
        for call in message.tool_calls or ()
    ]


CASES: list[tuple[str, dict[str, object]]] = [
    ("say one two", {}),
    ("say one two", {"n": 3}),
    ("say one two", {"logprobs": True, "top_logprobs": 2, "n": 2}),
    ("reason one two", {}),
    (f"calls {ARGUMENTS}", {"tools": [TOOL]}),
    (f"calls {ARGUMENTS} {{}}", {"tools": [TOOL], "n": 2}),
    (f"talk {ARGUMENTS}", {"tools": [TOOL]}),
    (f"talk {ARGUMENTS}", {"functions": [FUNCTION]}),
    ("bits f09f 8c99 41", {"logprobs": True}),
    ("say", {"tools": [TOOL]}),
    ("echo", {}),
]


@pytest.mark.parametrize(("text", "fields"), CASES, ids=range(len(CASES)))
def test_a_stream_says_what_a_plain_answer_says(api: Api, text: str, fields: dict[str, object]) -> None:
    """Put together by the SDK, the chunks are the body that is not streamed: messages, calls, probabilities, usage."""
    whole = plain(api, text, **fields)
    streamed = chunks(api, text, **fields, stream_options={"include_usage": True})
    together = assembled(streamed)
    assert together.usage == whole.usage
    for choice, other in zip(together.choices, whole.choices, strict=True):
        assert (choice.index, choice.finish_reason) == (other.index, other.finish_reason)
        assert (choice.message.content or None) == (other.message.content or None)
        assert choice.message.function_call == other.message.function_call
        assert _calls(choice.message) == _calls(other.message)
        told, other_told = (logprobs and logprobs.content for logprobs in (choice.logprobs, other.logprobs))
        assert told == other_told


@pytest.mark.parametrize(("text", "fields"), CASES, ids=range(len(CASES)))
def test_the_order_of_a_stream(api: Api, text: str, fields: dict[str, object]) -> None:
    """Of each choice the role first, once, and the reason last, once; one head throughout; usage only in the last."""
    streamed = chunks(api, text, **fields, stream_options={"include_usage": True})
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in streamed}) == 1
    *rest, last = streamed
    assert last.usage is not None
    assert last.choices == []
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in rest)
    for index in range(int(str(fields.get("n", 1)))):
        own = [choice for chunk in rest for choice in chunk.choices if choice.index == index]
        assert [choice.delta.role for choice in own] == ["assistant"] + [None] * (len(own) - 1)
        assert all(choice.finish_reason is None for choice in own[:-1])
        assert own[-1].finish_reason is not None
        assert own[-1].delta.model_fields_set == set()


def test_choices(api: Api) -> None:
    """Each has its own text; the prompt is counted once, what was known of it as cached."""
    whole = plain(api, "say one two", n=2)
    assert [(choice.index, choice.message.content) for choice in whole.choices] == [(0, "one two"), (1, "ONE TWO")]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (7, 4, 11)
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 3


def test_tool_calls(api: Api) -> None:
    """Content is null where there is none; each call is named once, its arguments come in pieces."""
    (choice,) = plain(api, f"calls {ARGUMENTS} {{}}", tools=[TOOL]).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [call.model_dump() for call in choice.message.tool_calls or ()] == [
        {"id": f"call_{i}", "type": "function", "function": {"name": f"tool_{i}", "arguments": arguments}}
        for i, arguments in enumerate((ARGUMENTS, "{}"))
    ]
    raw = [event["choices"][0]["delta"] for event in api.stream(f"calls {ARGUMENTS}", tools=[TOOL])[:-1]]
    assert raw == [
        {"role": "assistant", "content": None, "refusal": None},
        {
            "tool_calls": [
                {"index": 0, "id": "call_0", "type": "function", "function": {"name": "tool_0", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[:4]}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[4:]}}]},
        {},
    ]


def test_custom_tools(api: Api) -> None:
    """A call comes back with its text, in a stream as it comes; what holds no text is told as it is."""
    asked = 'call c {"input":"a\\n\\"b\\""}'
    (choice,) = plain(api, asked, tools=[CUSTOM_TOOL]).choices
    assert choice.finish_reason == "tool_calls"
    assert [call.model_dump() for call in choice.message.tool_calls or ()] == [
        {"id": "call_fake", "type": "custom", "custom": {"name": "c", "input": 'a\n"b"'}}
    ]
    first, *more = [event["choices"][0]["delta"] for event in api.stream(asked, tools=[CUSTOM_TOOL])[1:-2]]
    assert first == {
        "tool_calls": [{"index": 0, "id": "call_fake", "type": "custom", "custom": {"name": "c", "input": ""}}]
    }
    assert "".join(delta["tool_calls"][0]["custom"]["input"] for delta in more) == 'a\n"b"'
    odd = [{"type": "custom", "custom": {"name": "tool_0"}}]
    (choice,) = plain(api, "calls oddly", tools=odd).choices
    assert _calls(choice.message) == [("call_0", "tool_0", "oddly")]
    *_, rest, _, _ = api.stream("calls oddly", tools=odd)
    assert rest["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "custom": {"input": "oddly"}}]}


def test_a_history_of_custom_calls(api: Api) -> None:
    """For the model they are calls of the function that the tool is for it; its grammar binds the text."""
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "c", "input": "y"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "z"},
        {"role": "user", "content": "params"},
    ]
    result = api.post({"model": "m", "messages": history, "tools": [CUSTOM_TOOL, TOOL], "tool_choice": {
        "type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "custom", "custom": {"name": "c"}}]}}})  # fmt: skip
    frame = json.loads(result.json["choices"][0]["message"]["content"])
    (call,) = frame["messages"][1]["tool_calls"]
    assert call == {"id": "a", "type": "function", "function": {"name": "c", "arguments": '{"input":"y"}'}}
    (tool,) = frame["form"]["tools"]
    assert tool["function"]["parameters"]["properties"]["input"]["pattern"] == "^(?:[a-z]+)$"
    assert frame["form"]["tool_choice"] == "required"


def test_functions(api: Api) -> None:
    """A request that spoke of functions is answered with a function_call: the first, there is only one."""
    (choice,) = plain(api, f"calls {ARGUMENTS} {{}}", functions=[FUNCTION]).choices
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.model_dump() == {"name": "tool_0", "arguments": ARGUMENTS}
    raw = [event["choices"][0] for event in api.stream(f"calls {ARGUMENTS} {{}}", functions=[FUNCTION])[:-1]]
    assert [event["delta"] for event in raw] == [
        {"role": "assistant", "content": None, "refusal": None},
        {"function_call": {"name": "tool_0", "arguments": ""}},
        {"function_call": {"arguments": ARGUMENTS[:4]}},
        {"function_call": {"arguments": ARGUMENTS[4:]}},
        {},
    ]
    assert raw[-1]["finish_reason"] == "function_call"


def test_reasoning(api: Api) -> None:
    """Apart from the content, and counted."""
    body = api.chat("reason so").json
    assert body["choices"][0]["message"]["reasoning_content"] == "let me think"
    assert body["choices"][0]["message"]["content"] == "so"
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2
    deltas = [event["choices"][0]["delta"] for event in api.stream("reason so")[:-1]]
    assert deltas[1:-1] == [{"reasoning_content": "let me "}, {"reasoning_content": "think"}, {"content": "so"}]


def test_probabilities(api: Api) -> None:
    """A token's bytes are told even where they are no whole character; as many others as were asked for."""
    (choice,) = plain(api, "bits f09f 8c99 41", logprobs=True, top_logprobs=2).choices
    assert choice.message.content == "🌙A"
    assert choice.logprobs is not None
    told = choice.logprobs.content or []
    assert [token.bytes for token in told] == [[0xF0, 0x9F], [0x8C, 0x99], [0x41]]
    assert bytes(byte for token in told for byte in token.bytes or ()).decode() == "🌙A"
    assert [token.logprob for token in told] == [-1.0] * 3
    assert [[top.logprob for top in token.top_logprobs] for token in told] == [[-1.0, -2.0]] * 3
    (without,) = plain(api, "say x", logprobs=True).choices
    assert without.logprobs is not None
    assert [token.top_logprobs for token in without.logprobs.content or []] == [[]]


def test_progress_and_timings(api: Api) -> None:
    """llama-server's extensions, where they are asked for and only there."""
    events = api.stream("say one two", return_progress=True, timings_per_token=True)[:-1]
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert progress == [
        {"total": 7, "cache": 3, "processed": 5, "time_ms": 5},
        {"total": 7, "cache": 3, "processed": 7, "time_ms": 7},
    ]
    pieces = [event for event in events if event["choices"] and event["choices"][0]["delta"].get("content")]
    assert len(pieces) == 2
    for event in (*pieces, events[-1], api.chat("say one", timings_per_token=True).json):
        assert event["timings"] == {
            "cache_n": 3,
            "prompt_n": 4,
            "prompt_ms": 8.0,
            "prompt_per_token_ms": 2.0,
            "prompt_per_second": 500.0,
            "predicted_n": 2,
            "predicted_ms": 20.0,
            "predicted_per_token_ms": 10.0,
            "predicted_per_second": 100.0,
        }
    for event in api.stream("say one two")[:-1]:
        assert not event.keys() & {"timings", "prompt_progress", "usage", "service_tier"}


def test_the_tier_is_told_where_one_was_asked_for(api: Api) -> None:
    """There is only one."""
    assert plain(api, "say x", service_tier="flex").service_tier == "default"
    assert {chunk.service_tier for chunk in chunks(api, "say x", service_tier="auto")} == {"default"}


def _frames() -> Iterator[Token | Done]:
    yield Token(1, "a", (1,), logprobs=(Logprob(TokenProb(1, b"a", float("-inf"))),))
    yield Done(1, "stop", 1, 2, "b", logprobs=(Logprob(TokenProb(2, b"b", -0.5)),))


def test_what_comes_with_the_end_is_not_lost() -> None:
    """A last piece of text and its probability; infinity is as low as OpenAI goes."""
    events = reply.ChatEvents(Heading("i", 1, "m", "f"), reply.Options(with_logprobs=True))
    data = events.opening() + b"".join(events.piece(frame) for frame in _frames())
    parts = [json.loads(part.removeprefix("data: ")) for part in data.decode().split("\n\n")[:-2]]
    assert [part["choices"][0]["delta"].get("content") for part in parts] == ["", "a", "b", None]
    told = [part["choices"][0]["logprobs"] for part in parts]
    assert [logprobs and logprobs["content"][0]["logprob"] for logprobs in told] == [None, -9999.0, -0.5, None]


@pytest.mark.parametrize("text", ["\x00", '"', "\\", "\n\n", "data: [DONE]", "星影", "\U0001f319", "\u2028"])
def test_text_of_any_kind_survives_the_chunk_template(text: str) -> None:
    """The template is cut at a mark that no text can be confused with."""
    heading = Heading('"\x00"', 1, '{"content":"\x00"}', "\x00")
    data = reply.ChatEvents(heading, reply.Options(with_usage=True)).piece(Token(1, text))
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert data.count(b"\n") == 2
    chunk = json.loads(data[6:])
    assert chunk["choices"] == [{"index": 0, "delta": {"content": text}, "finish_reason": None, "logprobs": None}]
    assert (chunk["id"], chunk["model"], chunk["usage"]) == (heading.id, heading.model, None)


@pytest.mark.parametrize(
    ("reason", "has_calls", "with_functions", "told"),
    [
        ("stop", False, False, "stop"),
        ("cancelled", False, False, "stop"),
        ("length", False, False, "length"),
        ("length", True, False, "length"),
        ("stop", True, False, "tool_calls"),
        ("stop", True, True, "function_call"),
    ],
)
def test_finish_reasons(reason: str, has_calls: bool, with_functions: bool, told: str) -> None:
    """The engine's words in OpenAI's."""
    done = Done(1, reason, 1, 1)
    assert reply.finish_reason_of(done, has_calls=has_calls, with_functions=with_functions) == told
