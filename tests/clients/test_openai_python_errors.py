"""openai-python: the class of each error is the one it would be with OpenAI, and whoever leaves frees the engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from python_clients import Client
from server_process import ServerProcess, wait_for
from shapes import KEY, MODEL, QUESTION

CHAT: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "max_tokens": 4}
LONG = "count 100000 5"  # the fake engine's: 500 seconds

each = pytest.mark.parametrize


@pytest.fixture
def fake(fake_server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fake_server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


def ask(api: Any, text: str, model: str = "m", **options: Any) -> Any:
    return api.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def is_idle(server: ServerProcess) -> bool:
    status = server.status
    return not status["requests"] and not status["queue"]["running"]


def wait_until_idle(server: ServerProcess) -> None:
    wait_for(lambda: is_idle(server), 2, "the engine is free")


def begin(server: ServerProcess) -> None:
    """Waits until somebody's answer is being computed."""
    wait_for(lambda: server.status["queue"]["running"], 5, "it runs")


@each(
    ("options", "error", "code", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, "decimal_above_max_value", "temperature"),
        ({"temperature": "hot"}, openai.BadRequestError, "invalid_type", "temperature"),
        ({"n": 0}, openai.BadRequestError, "integer_below_min_value", "n"),
        ({"messages": []}, openai.BadRequestError, "empty_array", "messages"),
        (
            {"messages": [{"role": "wizard", "content": "x"}]},
            openai.BadRequestError,
            "invalid_value",
            "messages[0].role",
        ),
        ({"top_logprobs": 21, "logprobs": True}, openai.BadRequestError, "integer_above_max_value", "top_logprobs"),
        ({"stop": ["a"] * 5}, openai.BadRequestError, "array_above_max_length", "stop"),
        (
            {"messages": [{"role": "user", "content": "x" * 40_000}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
        ({"messages": [{"role": "assistant", "content": ""}]}, openai.BadRequestError, "invalid_argument", "messages"),
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found", None),
    ],
)
@each("is_stream", [False, True], ids=["plain", "streamed"])
def test_bad_requests(
    client: Client,
    options: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    param: str | None,
    is_stream: bool,
) -> None:
    """Class, code, param and type are OpenAI's, also when a stream was asked for."""
    with pytest.raises(error) as caught:
        client.one(lambda api: api.chat.completions.create(**{**CHAT, **options}, stream=is_stream))
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_field_that_the_model_is_no_good_for(client: Client) -> None:
    """The sentence names it, and what is wrong with it."""
    with pytest.raises(openai.BadRequestError, match="'suffix' needs a model that can") as caught:
        client.one(lambda api: api.completions.create(model="tiny", prompt="a", suffix="b"))
    assert caught.value.param == "suffix"


def test_a_wrong_key(client: Client) -> None:
    """401 is AuthenticationError."""
    with pytest.raises(openai.AuthenticationError) as caught:
        client.one(lambda api: api.with_options(api_key="wrong").chat.completions.create(**CHAT))
    assert caught.value.code == "invalid_api_key"


def test_unknown_urls(client: Client) -> None:
    """What is not there is NotFoundError."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.one(lambda api: api.files.list())
    assert caught.value.code == "unknown_url"


def test_too_many(fake_server: ServerProcess, fake: OpenAI) -> None:
    """Who finds the queue full gets a RateLimitError that says when to come back; the others are served."""
    with ask(fake, LONG, stream=True) as running:
        next(iter(running))
        with fake_server.connect() as waiting:
            waiting.sendall(fake_server.chat_request("echo x"))
            wait_for(lambda: fake_server.status["queue"]["waiting"], 5, "one waits")
            with pytest.raises(openai.RateLimitError) as caught:
                ask(fake, "echo x")
            assert caught.value.code == "queue_full"
            assert int(caught.value.response.headers["retry-after"]) > 0
    wait_until_idle(fake_server)


def test_an_engine_that_dies(fake: OpenAI) -> None:
    """5xx is InternalServerError."""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(fake, "killer 2", "mortal")
    assert caught.value.code == "engine_crashed"


def test_an_error_inside_a_stream(fake: OpenAI) -> None:
    """After the first byte it is an APIError, raised where the stream is read."""
    chunks = ask(fake, "late internal_error", stream=True)
    assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "one "]
    with pytest.raises(openai.APIError) as caught:
        list(chunks)
    assert caught.value.code == "internal_error"
    assert not isinstance(caught.value, openai.APIStatusError)


def test_timeouts(fake_server: ServerProcess, fake: OpenAI) -> None:
    """A client whose patience ends gets APITimeoutError, and the engine is free."""
    with pytest.raises(openai.APITimeoutError):
        ask(fake, "hang", timeout=0.5)
    wait_until_idle(fake_server)


def test_leaving_a_stream(fake_server: ServerProcess, fake: OpenAI) -> None:
    """Closing it, or its `with`, frees the engine; the same client's next question is answered."""
    stream = ask(fake, LONG, stream=True)
    next(iter(stream))
    stream.close()
    wait_until_idle(fake_server)
    with fake.chat.completions.stream(model="m", messages=[{"role": "user", "content": LONG}]) as helper:
        next(iter(helper))
    wait_until_idle(fake_server)
    assert ask(fake, "echo hello").choices[0].message.content == "hello"


@each("is_stream", [False, True], ids=["plain", "streamed"])
def test_cancelling_a_task(fake_server: ServerProcess, is_stream: bool) -> None:
    """An asyncio task that is cancelled frees the engine within moments; the same client goes on."""

    async def read(client: AsyncOpenAI) -> None:
        answer = await ask(client, LONG, stream=is_stream)
        if is_stream:
            async for _ in answer:
                pass

    async def main() -> str | None:
        async with AsyncOpenAI(base_url=f"{fake_server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
            task = asyncio.create_task(read(client))
            await asyncio.to_thread(begin, fake_server)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            began = time.monotonic()
            text: str | None = (await ask(client, "echo hello")).choices[0].message.content
            assert time.monotonic() - began < 30
            return text

    assert asyncio.run(main()) == "hello"


def test_leaving_a_real_model(server: ServerProcess) -> None:
    """A real engine stops computing for a client that left in the middle."""
    options: dict[str, Any] = {"model": "smollm2", "messages": QUESTION, "extra_body": {"ignore_eos": True}}
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        with client.chat.completions.create(stream=True, max_tokens=8000, **options) as stream:
            chunks = iter(stream)
            next(chunks)
            next(chunks)
        wait_until_idle(server)
