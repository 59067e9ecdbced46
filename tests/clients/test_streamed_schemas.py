"""Random schemas over HTTP: what is streamed is what is answered at once, and what has finished validates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionMessage
from python_clients import SyncClient
from server_process import ServerProcess
from shapes import MAX_TOKENS, MODEL, QUESTION

NAMES = st.sampled_from(["a", "ab", "星", 'q"', "a b", "type", "name", "arguments", "</tool_call>"])
LEAVES = st.sampled_from(
    [
        {"type": "boolean"},
        {"type": ["integer", "null"], "minimum": -3, "maximum": 12},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"enum": ["a", "ab", 'q"\n', "</tool_call>", 1, None]},
        {"type": "string", "pattern": "^[a-c星]{1,3}$"},
        {"type": "string", "format": "date"},
        {"type": "string", "maxLength": 3},
    ]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def made(properties: dict[str, Any], n_required: int) -> dict[str, Any]:
        required = list(properties)[:n_required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    return st.builds(made, st.dictionaries(NAMES, inner, max_size=3), st.integers(0, 3))


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2})


SCHEMAS = objects(st.recursive(LEAVES, lambda inner: objects(inner) | arrays(inner), max_leaves=4))
RUNS = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[SyncClient]:
    made = SyncClient(server)
    yield made
    made.close()


def answered(client: SyncClient, seed: int, **options: Any) -> tuple[ChatCompletionMessage, bool]:
    """The message, which is the same plain and streamed, and whether it has finished.

    With probabilities, a stream is read token by token, so that nothing may be told too early. What is computed anew
    has the same rounding errors.
    """
    options |= {"model": MODEL, "messages": QUESTION, "max_tokens": MAX_TOKENS, "seed": seed, "temperature": 1.5}
    options["extra_body"] = {"cache_prompt": False}
    plain = client.one(lambda api: api.chat.completions.create(**options)).choices[0]
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in client.all(lambda api: api.chat.completions.create(stream=True, logprobs=True, **options)):
        if chunk.choices and chunk.choices[0].finish_reason == "length":
            break  # the helper would raise
        state.handle_chunk(chunk)
    streamed = state.current_completion_snapshot.choices[0].message
    assert (streamed.content or None) == (plain.message.content or None)
    assert calls_of(streamed) == calls_of(plain.message)
    event(f"finished: {plain.finish_reason}")
    return plain.message, plain.finish_reason != "length"


def calls_of(message: Any) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


@RUNS
@given(schema=SCHEMAS, seed=st.integers(0, 2**31))
def test_an_answer_of_a_schema(client: SyncClient, schema: dict[str, Any], seed: int) -> None:
    """response_format, strict."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    message, is_finished = answered(client, seed, response_format=form)
    assert message.tool_calls is None
    if is_finished:
        jsonschema.validate(json.loads(message.content or ""), schema)


@RUNS
@given(schema=SCHEMAS, seed=st.integers(0, 2**31))
def test_a_call_of_a_schema(client: SyncClient, schema: dict[str, Any], seed: int) -> None:
    """A tool that has to be called."""
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    message, is_finished = answered(client, seed, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    if is_finished:
        ((name, arguments),) = calls_of(message)
        assert (name, message.content) == ("look", None)
        jsonschema.validate(json.loads(arguments), schema)
