"""langchain-openai: the chat model, its tools and shapes, text completions, embeddings."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import SecretStr
from server_process import ServerProcess
from shapes import KEY, MAX_TOKENS, MODEL, GetWeather, SetAlarm, Weather

PROMPT = [SystemMessage("Be brief."), HumanMessage("What is the weather in Kyoto?")]


@pytest.fixture(scope="module", params=[False, True], ids=["chat", "responses"])
def chat(request: pytest.FixtureRequest, server: ServerProcess) -> ChatOpenAI:
    """The chat model over chat completions, and over responses."""
    return make(server, use_responses_api=request.param)


def make(server: ServerProcess, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key=SecretStr(KEY),
        max_retries=0,
        temperature=0,
        max_completion_tokens=MAX_TOKENS,
        stream_usage=True,
        **options,
    )


def test_invoke(chat: ChatOpenAI) -> None:
    """An answer and its usage."""
    message = chat.invoke(PROMPT)
    assert isinstance(message, AIMessage)
    assert message.text
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] > 0


def test_asynchronous(server: ServerProcess) -> None:
    """The answers are the same. One event loop for all: langchain keeps its connections for good."""
    chats = [make(server, use_responses_api=over_responses) for over_responses in (False, True)]

    async def texts() -> list[str]:
        return [(await chat.ainvoke(PROMPT)).text for chat in chats]

    assert asyncio.run(texts()) == [chat.invoke(PROMPT).text for chat in chats]


def test_stream(chat: ChatOpenAI) -> None:
    """The chunks add up to the answer; the usage is in one of them."""
    chunks = list(chat.stream(PROMPT))
    assert "".join(chunk.text for chunk in chunks) == chat.invoke(PROMPT).text
    usages = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert len(usages) == 1
    assert usages[0]["output_tokens"] > 0


def test_batch(chat: ChatOpenAI) -> None:
    """Several at once are answered as each alone."""
    assert {message.text for message in chat.batch([PROMPT, PROMPT])} == {chat.invoke(PROMPT).text}


@pytest.mark.parametrize("tool_choice", ["required", "GetWeather"])
def test_tools(chat: ChatOpenAI, tool_choice: str) -> None:
    """Bound tools are called when they must be; the result goes back in."""
    tools: list[Any] = [GetWeather, SetAlarm]

    bound = chat.bind_tools(tools, tool_choice=tool_choice, strict=True, parallel_tool_calls=False)
    message = bound.invoke(PROMPT)
    assert isinstance(message, AIMessage)
    [call] = message.tool_calls
    assert not message.invalid_tool_calls
    shape = {"GetWeather": GetWeather, "SetAlarm": SetAlarm}[call["name"]]
    shape.model_validate(call["args"])
    result = ToolMessage("grey", tool_call_id=call["id"])
    assert chat.bind_tools(tools, tool_choice="none").invoke([*PROMPT, message, result]).text is not None


def test_streamed_tools(chat: ChatOpenAI) -> None:
    """The chunks of a call add up to the call."""
    bound = chat.bind_tools([GetWeather], tool_choice="GetWeather", strict=True)
    chunks = list(bound.stream(PROMPT))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk  # type: ignore[operator]
    [call] = whole.tool_calls  # type: ignore[attr-defined]
    GetWeather.model_validate(call["args"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: ChatOpenAI, method: Any) -> None:
    """with_structured_output gives the pydantic model, at once or in the end of a stream."""
    shaped = chat.with_structured_output(Weather, method=method, strict=True)
    made = shaped.invoke(PROMPT)
    assert isinstance(made, Weather)
    assert list(shaped.stream(PROMPT))[-1] == made


def test_logprobs_and_stops(server: ServerProcess) -> None:
    """They reach the message."""
    chat = make(server, logprobs=True, top_logprobs=2, seed=1)
    message = chat.invoke(PROMPT, stop=["a", "e"])
    assert not set(message.text) & set("ae")
    assert message.response_metadata["logprobs"]["content"][0]["top_logprobs"]


def test_completions(server: ServerProcess) -> None:
    """The text model, whole and streamed."""
    model = OpenAI(
        model=MODEL, base_url=f"{server.url}/v1", api_key=SecretStr(KEY), max_retries=0, temperature=0, max_tokens=12
    )
    assert "".join(model.stream("Once upon")) == model.invoke("Once upon")


def test_embeddings(server: ServerProcess) -> None:
    """Queries and documents. Unless told otherwise langchain sends token ids, those of OpenAI's tokenizer."""
    made = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{server.url}/v1",
        api_key=SecretStr(KEY),
        max_retries=0,
        check_embedding_ctx_length=False,
    )
    documents = made.embed_documents(["a", "b"])
    assert made.embed_query("a") == pytest.approx(documents[0], abs=1e-4)
    assert len(documents[0]) == len(documents[1])


def test_errors(chat: ChatOpenAI) -> None:
    """They are the SDK's own."""
    with pytest.raises(openai.NotFoundError):
        chat.model_copy(update={"model_name": "nobody"}).invoke(PROMPT)
    with pytest.raises(openai.BadRequestError) as caught:
        chat.invoke("x" * 40_000)
    assert caught.value.code == "context_length_exceeded"
