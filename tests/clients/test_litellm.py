"""litellm, as programs use it that speak to many providers (aider among them): ours is "openai/MODEL" with an api_base.

It is a large package: where it is not installed, these tests are skipped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from server_process import ServerProcess
from shapes import ARGUMENTS, KEY, MAX_TOKENS, MODEL, QUESTION, TOOLS, Weather, named

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it downloads a list of prices
litellm: Any = pytest.importorskip("litellm")

Ask = Callable[..., Any]


@pytest.fixture
def where(server: ServerProcess) -> dict[str, Any]:
    return {"api_base": f"{server.url}/v1", "api_key": KEY, "max_retries": 0}


@pytest.fixture
def ask(where: dict[str, Any]) -> Ask:
    def ask(**options: Any) -> Any:
        usual = {"messages": QUESTION, "temperature": 0, "max_tokens": MAX_TOKENS}
        return litellm.completion(f"openai/{MODEL}", **{**where, **usual, **options})

    return ask


def whole(chunks: list[Any]) -> Any:
    return litellm.stream_chunk_builder(chunks, messages=QUESTION)


def test_plain_and_streamed(ask: Ask) -> None:
    """One text and one count."""
    plain = ask(max_tokens=20)
    streamed = whole(list(ask(max_tokens=20, stream=True, stream_options={"include_usage": True})))
    assert plain.choices[0].message.content == streamed.choices[0].message.content
    assert plain.choices[0].finish_reason == streamed.choices[0].finish_reason == "length"
    assert plain.usage.completion_tokens == streamed.usage.completion_tokens == 20
    assert plain.usage.prompt_tokens == streamed.usage.prompt_tokens


def test_asynchronous(ask: Ask, where: dict[str, Any]) -> None:
    """The same text again."""
    question = {"messages": QUESTION, "temperature": 0, "max_tokens": 20, **where}
    answer = asyncio.run(litellm.acompletion(f"openai/{MODEL}", **question))
    assert answer.choices[0].message.content == ask(max_tokens=20).choices[0].message.content


@pytest.mark.parametrize("tool_choice", ["required", named("get_weather")], ids=["required", "named"])
def test_tools(ask: Ask, tool_choice: Any) -> None:
    """The call is made, plain as streamed; its result goes back in."""
    options = {"tools": TOOLS, "tool_choice": tool_choice, "parallel_tool_calls": False}
    message = ask(**options).choices[0].message
    [call] = message.tool_calls
    ARGUMENTS[call.function.name].model_validate_json(call.function.arguments)
    [again] = whole(list(ask(**options, stream=True))).choices[0].message.tool_calls
    assert (again.function.name, again.function.arguments) == (call.function.name, call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "grey"}
    after = ask(messages=[*QUESTION, message, result], tools=TOOLS, tool_choice="none", max_tokens=8)
    assert after.choices[0].message.content


def test_shapes(ask: Ask) -> None:
    """A pydantic model as response_format holds, plain as streamed."""
    made = Weather.model_validate_json(ask(response_format=Weather).choices[0].message.content)
    streamed = whole(list(ask(response_format=Weather, stream=True))).choices[0].message.content
    assert Weather.model_validate_json(streamed) == made


def test_other_endpoints(where: dict[str, Any]) -> None:
    """Responses, completions and embeddings."""
    response = litellm.responses(input="Hello", model=f"openai/{MODEL}", max_output_tokens=16, **where)
    assert response.output[0].content[0].text
    text = litellm.text_completion("Once", model=f"text-completion-openai/{MODEL}", max_tokens=4, **where)
    assert text.choices[0].text
    vectors = litellm.embedding(f"openai/{MODEL}", input=["a", "b"], **where)
    assert len(vectors.data) == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"messages": [{"role": "user", "content": "x" * 40_000}]}, "ContextWindowExceededError"),
        ({"temperature": 3}, "BadRequestError"),
        ({"model": "openai/nobody"}, "NotFoundError"),
        ({"api_key": "wrong"}, "AuthenticationError"),
    ],
)
def test_errors(where: dict[str, Any], options: dict[str, Any], error: str) -> None:
    """They are of the class that litellm has for OpenAI's; what depends on it is how a program goes on."""
    question = {"model": f"openai/{MODEL}", "messages": QUESTION, "max_tokens": 4}
    with pytest.raises(getattr(litellm, error)):
        litellm.completion(**{**where, **question, **options})
