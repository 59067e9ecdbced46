"""/v1/responses the whole way: openai-python, gunicorn, the engine process, SmolLM2."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel
from server_process import REAL_SERVER, ServerProcess, read_until

QUESTION = "Tell me a story about a lighthouse."
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Tokyo", "Paris"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Iterator[ServerProcess]:
    file = {"path": str(smollm2_path.parent), "model": smollm2_path.name}
    models: dict[str, Any] = {"smollm2": {**file, "sampling": {"temperature": 0}}, "long": {**file, "n_ctx": 8192}}
    with ServerProcess(tmp_path_factory.mktemp("server"), models, command=REAL_SERVER, n_ctx=1024) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def test_a_stream_is_the_same_response(client: OpenAI) -> None:
    """Greedy: `create`, the raw events and the streaming helper come to the same text and counts."""
    options: dict[str, Any] = {"model": "smollm2", "input": QUESTION, "max_output_tokens": 24}
    plain = client.responses.create(**options)
    assert (plain.status, plain.incomplete_details and plain.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    events = list(client.responses.create(**options, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 12, "tokens come one by one"
    last = events[-1]
    assert last.type == "response.incomplete"
    assert "".join(deltas) == last.response.output_text == plain.output_text
    assert plain.usage is not None
    assert last.response.usage is not None
    assert plain.usage.output_tokens == last.response.usage.output_tokens == 24
    options = {**options, "input": "Answer with one word: yes or no?", "max_output_tokens": 200}
    with client.responses.stream(**options) as stream:
        final = stream.get_final_response()
    assert final.status == "completed"
    assert final.output_text == client.responses.create(**options).output_text != ""


def test_chat_and_responses_agree(client: OpenAI) -> None:
    """The same conversation gives the same text, whichever way it is told."""
    chat = client.chat.completions.create(
        model="smollm2",
        max_tokens=16,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
    )
    response = client.responses.create(
        model="smollm2", instructions="Be brief.", input=QUESTION, max_output_tokens=16, store=False
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens


def test_turns(client: OpenAI) -> None:
    """A kept response is continued: the model reads everything, and what is kept can be listed."""
    first = client.responses.create(model="smollm2", input="My name is Hoshi.", max_output_tokens=16)
    second = client.responses.create(
        model="smollm2", input="And now?", previous_response_id=first.id, max_output_tokens=16
    )
    written_out: list[Any] = [
        {"role": "user", "content": "My name is Hoshi."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And now?"},
    ]
    whole = client.responses.create(model="smollm2", input=written_out, max_output_tokens=16)
    assert whole.output_text == second.output_text
    assert second.usage is not None
    counted = client.responses.input_tokens.count(model="smollm2", input="And now?", previous_response_id=first.id)
    assert counted.input_tokens == second.usage.input_tokens
    items = client.responses.input_items.list(second.id, order="asc", limit=2)
    assert [item.type for item in items] == ["message"] * 3, "the SDK turns the pages"
    assert client.responses.retrieve(second.id) == second
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="smollm2", input="x", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_call_and_its_result(client: OpenAI) -> None:
    """A forced call with arguments that match; streamed the same; its result is read by the model."""
    options: dict[str, Any] = {
        "model": "smollm2",
        "input": "How is the weather in Tokyo?",
        "tools": [WEATHER],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    called = client.responses.create(**options)
    (item,) = called.output
    assert item.type == "function_call"
    assert (item.name, item.status) == ("get_weather", "completed")
    arguments = json.loads(item.arguments)
    assert arguments["city"] in ("Tokyo", "Paris")
    assert 1 <= arguments["days"] <= 7
    with client.responses.stream(**options) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output[0].arguments == item.arguments  # type: ignore[union-attr]
    answer = client.responses.create(
        model="smollm2",
        previous_response_id=called.id,
        input=[{"type": "function_call_output", "call_id": item.call_id, "output": '{"sky": "clear"}'}],
        tools=[WEATHER],  # type: ignore[list-item]
        tool_choice="none",
        max_output_tokens=16,
    )
    assert answer.output_text
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="smollm2", previous_response_id=called.id, input="x")
    assert caught.value.code == "call_without_output"


def test_a_custom_tool(client: OpenAI) -> None:
    """Its text is free, or matches its regular expression."""
    tool: Any = {"type": "custom", "name": "dial", "format": {
        "type": "grammar", "syntax": "regex", "definition": "[0-9]{3}-[0-9]{4}"}}  # fmt: skip
    options: dict[str, Any] = {
        "model": "smollm2",
        "input": "Call 555-1234.",
        "tools": [tool],
        "tool_choice": {"type": "custom", "name": "dial"},
        "parallel_tool_calls": False,
    }
    (item,) = client.responses.create(**options).output
    assert item.type == "custom_tool_call"
    prefix, _, number = item.input.partition("-")
    assert (len(prefix), len(number), (prefix + number).isdigit()) == (3, 4, True)


class Answer(BaseModel):
    """What is asked for."""

    colour: Literal["red", "green"]
    count: int


def test_parsing(client: OpenAI) -> None:
    """`.parse` and `.stream` with a type: the text matches its schema."""
    options: dict[str, Any] = {"model": "smollm2", "input": "A green number?", "text_format": Answer}
    parsed = client.responses.parse(**options).output_parsed
    assert isinstance(parsed, Answer)
    with client.responses.stream(**options) as stream:
        assert stream.get_final_response().output_parsed == parsed
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model="smollm2",
            input="x",
            text={"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {
                "type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}}},
        )  # fmt: skip
    assert (caught.value.code, caught.value.param) == ("invalid_json_schema", "text.format.schema")


def test_bad_parameters_of_a_tool(client: OpenAI) -> None:
    """A schema that cannot be enforced is a 400 that names the tool where the client has put it."""
    bad: Any = {**WEATHER, "parameters": {"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}}
    tools: Any = [{"type": "web_search"}, {**WEATHER, "name": "good"}, bad]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="smollm2", input="x", tools=tools)
    assert caught.value.code == "invalid_function_parameters"
    assert caught.value.param == "tools[2].parameters"


def test_probabilities(client: OpenAI) -> None:
    """Of each token of the text, with the likeliest ones."""
    response = client.responses.create(
        model="smollm2",
        input="Hi",
        max_output_tokens=4,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    (item,) = response.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(entry.token for entry in part.logprobs) == part.text
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in part.logprobs)


def test_a_conversation_that_does_not_fit(client: OpenAI) -> None:
    """BadRequestError, also when the client would have it cut."""
    for truncation in ("disabled", "auto"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="smollm2", input="word " * 2000, truncation=truncation)  # type: ignore[call-overload]
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


def test_a_disconnect_frees_the_engine(client: OpenAI, server: ServerProcess) -> None:
    """In the middle of a response: the next request does not wait for its end, and nothing is kept."""
    body = {"model": "long", "input": QUESTION, "stream": True, "max_output_tokens": 8000, "ignore_eos": True}
    connection = server.connect()
    connection.sendall(server.request("POST", "/v1/responses", body))
    head = read_until(connection, b"response.output_text.delta")
    response_id = head.partition(b'"id":"')[2].partition(b'"')[0].decode()
    assert response_id.startswith("resp_")
    connection.close()
    began = time.monotonic()
    client.responses.create(model="long", input="Hi", max_output_tokens=1)
    assert time.monotonic() - began < 20, "the response would take minutes"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response_id)
