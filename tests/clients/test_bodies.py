"""Real bodies against OpenAI's own document: every key that it requires is there, with a value that it allows."""

from __future__ import annotations

from typing import Any

import pytest
from openai_spec import assert_valid
from raw_http import ask, events
from server_process import ServerProcess
from shapes import MAX_TOKENS, MODEL, QUESTION, TOOLS, GetWeather, Weather, flat_tool, named, response_format

CHAT: dict[str, Any] = {"model": MODEL, "messages": QUESTION}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {"max_tokens": 8},
    "n": {"max_tokens": 4, "n": 2},
    "logprobs": {"max_tokens": 4, "logprobs": True, "top_logprobs": 2},
    "no alternatives": {"max_tokens": 4, "logprobs": True},
    "tools": {"tools": TOOLS, "max_tokens": 8},
    "tools and logprobs": {"tools": TOOLS, "tool_choice": "required", "max_tokens": MAX_TOKENS, "logprobs": True},
    "required": {
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": MAX_TOKENS,
    },
    "custom": {
        "tools": [
            {
                "type": "custom",
                "custom": {
                    "name": "act",
                    "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "go (left|right)"}},
                },
            }
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "act"}},
        "max_tokens": MAX_TOKENS,
    },
    "named": {"tools": TOOLS, "tool_choice": named("get_weather"), "max_tokens": MAX_TOKENS},
    "json_schema": {"response_format": response_format(Weather), "max_tokens": MAX_TOKENS},
    "json_object": {"response_format": {"type": "json_object"}, "max_tokens": 32},
    "stop": {"stop": ["e", "a"], "max_tokens": 32},
    "accepted fields": {
        "max_completion_tokens": 4,
        "metadata": {"a": "b"},
        "store": False,
        "user": "u",
        "service_tier": "auto",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
    },
}
# OpenAI's document knows no chunk of a custom tool's call.
STREAMED = {name: options for name, options in CHATS.items() if name != "custom"}
COMPLETION: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 6}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "echo": {"echo": True},
    "logprobs": {"logprobs": 2},
    "several prompts": {"prompt": ["Once", "upon"], "n": 2},
    "token ids": {"prompt": [70, 71, 72]},
}
RESPONSE: dict[str, Any] = {"model": MODEL, "input": "What is the weather in Kyoto?"}
RESPONSES: dict[str, dict[str, Any]] = {
    "plain": {"max_output_tokens": 16},
    "whole": {"input": QUESTION, "instructions": "Be brief.", "max_output_tokens": 16, "metadata": {"a": "b"}},
    "not stored": {"max_output_tokens": 16, "store": False},
    "named": {
        "tools": [flat_tool(GetWeather)],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "max_output_tokens": MAX_TOKENS,
    },
    "custom": {
        "tools": [
            {
                "type": "custom",
                "name": "act",
                "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "go " ("left" | "right")'},
            }
        ],
        "tool_choice": {"type": "custom", "name": "act"},
        "max_output_tokens": MAX_TOKENS,
    },
    "search for tools": {
        "tools": [
            {
                "type": "tool_search",
                "execution": "client",
                "description": "Finds.",
                "parameters": response_format(Weather)["json_schema"]["schema"],
            }
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "tool_search"}]},
        "max_output_tokens": MAX_TOKENS,
    },
    "json_schema": {
        "text": {"format": {"type": "json_schema", **response_format(Weather)["json_schema"]}},
        "max_output_tokens": MAX_TOKENS,
    },
}
each = pytest.mark.parametrize


@each("options", CHATS.values(), ids=CHATS.keys())
def test_chat(server: ServerProcess, options: dict[str, Any]) -> None:
    """A chat completion is a CreateChatCompletionResponse."""
    status, body = ask(server, "POST", "/v1/chat/completions", {**CHAT, **options})
    assert status == 200, body
    assert_valid("CreateChatCompletionResponse", body)


@each("with_usage", [False, True])
@each("options", STREAMED.values(), ids=STREAMED.keys())
def test_chat_streams(server: ServerProcess, options: dict[str, Any], with_usage: bool) -> None:
    """Each chunk is a CreateChatCompletionStreamResponse; `usage` is in all of them when asked for, else in none."""
    more = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = events(server, "/v1/chat/completions", {**CHAT, **options, "stream": True, **more})
    for chunk in chunks:
        assert_valid("CreateChatCompletionStreamResponse", chunk)
        assert ("usage" in chunk) == with_usage
    if with_usage:
        assert [bool(chunk["choices"]) for chunk in chunks] == [chunk["usage"] is None for chunk in chunks]
        assert chunks[-1]["usage"] is not None
    same = ("id", "object", "created", "model", "system_fingerprint")
    assert len({tuple(chunk[name] for name in same) for chunk in chunks}) == 1


@each("options", COMPLETIONS.values(), ids=COMPLETIONS.keys())
def test_completions(server: ServerProcess, options: dict[str, Any]) -> None:
    """A text completion is a CreateCompletionResponse, and so is each piece of one that is streamed."""
    status, body = ask(server, "POST", "/v1/completions", {**COMPLETION, **options})
    assert status == 200, body
    assert_valid("CreateCompletionResponse", body)


@each("options", COMPLETIONS.values(), ids=COMPLETIONS.keys())
def test_completion_streams(server: ServerProcess, options: dict[str, Any]) -> None:
    """Each piece of a text completion has all keys of one; the end of each choice tells why it ended."""
    pieces = events(server, "/v1/completions", {**COMPLETION, **options, "stream": True})
    for piece in pieces:
        # OpenAI's document knows no piece that is not the last; on the wire finish_reason is null in those.
        closed = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in piece["choices"]]
        assert_valid("CreateCompletionResponse", {**piece, "choices": closed})
    ended = [c["index"] for piece in pieces for c in piece["choices"] if c["finish_reason"]]
    assert len(ended) == len(set(ended)) == (4 if isinstance(options.get("prompt", [0])[0], str) else 1)


@each("options", RESPONSES.values(), ids=RESPONSES.keys())
def test_responses(server: ServerProcess, options: dict[str, Any]) -> None:
    """A response is a Response, also when it is fetched again."""
    status, body = ask(server, "POST", "/v1/responses", {**RESPONSE, **options})
    assert status == 200, body
    assert_valid("Response", body)
    status, again = ask(server, "GET", f"/v1/responses/{body['id']}")
    if options.get("store", True):
        assert (status, again) == (200, body)
    else:
        assert status == 404


@each("options", RESPONSES.values(), ids=RESPONSES.keys())
def test_response_streams(server: ServerProcess, options: dict[str, Any]) -> None:
    """Each event is a ResponseStreamEvent, and their numbers go up by one."""
    found = events(server, "/v1/responses", {**RESPONSE, **options, "stream": True})
    for event in found:
        assert_valid("ResponseStreamEvent", event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    assert found[-1]["type"] in ("response.completed", "response.incomplete")


@each("options", [{}, {"encoding_format": "base64"}, {"input": ["a", "b"]}, {"input": [70, 71]}], ids=str)
def test_embeddings(server: ServerProcess, options: dict[str, Any]) -> None:
    """Embeddings are a CreateEmbeddingResponse (whose document leaves base64 out)."""
    status, body = ask(server, "POST", "/v1/embeddings", {"model": MODEL, "input": "a", **options})
    assert status == 200, body
    if "encoding_format" in options:
        assert all(isinstance(entry["embedding"], str) for entry in body["data"])
        body = {**body, "data": [{**entry, "embedding": [0.0]} for entry in body["data"]]}
    assert_valid("CreateEmbeddingResponse", body)


def test_models(server: ServerProcess) -> None:
    """The list is a ListModelsResponse, and each of it a Model that can be fetched."""
    status, body = ask(server, "GET", "/v1/models")
    assert status == 200
    assert_valid("ListModelsResponse", body)
    for model in body["data"]:
        assert ask(server, "GET", f"/v1/models/{model['id']}") == (200, model)
        assert_valid("Model", model)


@each(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", {**CHAT, "temperature": 3}, 400),
        ("POST", "/v1/chat/completions", {**CHAT, "model": "nobody"}, 404),
        ("POST", "/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "x" * 40_000}]}, 400),
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/models/nobody", None, 404),
        ("DELETE", "/v1/chat/completions", None, 405),
        ("POST", "/v1/responses", {"model": MODEL}, 400),
        ("GET", "/v1/responses/resp_nothing", None, 404),
    ],
)
def test_errors(server: ServerProcess, method: str, path: str, body: object, status: int) -> None:
    """An error is an ErrorResponse; its four keys are there whatever it is about."""
    assert ask(server, method, path, body)[0] == status
    assert_valid("ErrorResponse", ask(server, method, path, body)[1])
