"""The whole way with a real model: openai-python, gunicorn, the engine process, llama.cpp, SmolLM2."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from server_process import REAL_SERVER, ServerProcess, is_alive, read_until

QUESTION: list[Any] = [{"role": "user", "content": "Tell me a story about a lighthouse."}]


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path, smollm2_path: Path
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "random.gguf").write_bytes(os.urandom(10_000))
    (folder / "cut.gguf").write_bytes(tiny_model_path.read_bytes()[:5000])
    smollm2 = {"path": str(smollm2_path.parent), "model": smollm2_path.name}
    return {
        "smollm2": smollm2,
        "tiny": {"path": str(tiny_model_path.parent), "model": tiny_model_path.name, "n_ctx": 128},
        "long": {**smollm2, "n_ctx": 8192},
        "greedy": {**smollm2, "sampling": {"temperature": 0}, "n_ctx": 512},
        "missing": {"path": str(folder), "model": "missing.gguf"},
        "random": {"path": str(folder), "model": "random.gguf"},
        "cut": {"path": str(folder), "model": "cut.gguf"},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: dict[str, dict[str, Any]]) -> Iterator[ServerProcess]:
    with ServerProcess(
        tmp_path_factory.mktemp("server"), models, command=REAL_SERVER, n_ctx=512, api_keys="key"
    ) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0, timeout=120) as made:
        yield made


def streamed(client: OpenAI, **options: Any) -> list[Any]:
    return list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options))


def test_a_stream_is_the_same_answer_in_pieces(client: OpenAI) -> None:
    """Greedy: the pieces together are the plain answer, and the counts agree."""
    options: dict[str, Any] = {"model": "smollm2", "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    plain = client.chat.completions.create(**options)
    *chunks, last = streamed(client, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason == "length"
    assert last.usage.completion_tokens == plain.usage.completion_tokens
    assert last.usage.prompt_tokens == plain.usage.prompt_tokens
    # The same prompt again: all but its last token is there.
    assert last.usage.prompt_tokens_details.cached_tokens == last.usage.prompt_tokens - 1
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 24
    assert len(chunks) > 12, "tokens come one by one"
    assert {chunk.system_fingerprint for chunk in chunks} == {plain.system_fingerprint}


def test_counting_agrees_with_computing(client: OpenAI) -> None:
    """input_tokens of a conversation is the prompt_tokens of its answer."""
    body = {"model": "smollm2", "messages": QUESTION}
    counted = client.post("/chat/completions/input_tokens", body=body, cast_to=object)
    usage = client.chat.completions.create(**body, max_tokens=1).usage  # type: ignore[call-overload]
    assert counted == {"object": "response.input_tokens", "input_tokens": usage.prompt_tokens}


def test_a_giant_prompt(client: OpenAI) -> None:
    """Megabytes are refused at once, with what is known of their length; awake or not."""
    messages: list[Any] = [{"role": "user", "content": "word " * 1_600_000}]
    for model in ("smollm2", "greedy"):
        with pytest.raises(openai.BadRequestError, match=r"at least \d+ tokens") as caught:
            client.chat.completions.create(model=model, messages=messages)
        assert caught.value.code == "context_length_exceeded"


def test_stop_strings(client: OpenAI) -> None:
    """The answer ends before the first occurrence, also when it lies across tokens."""
    options: dict[str, Any] = {"model": "smollm2", "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    text = client.chat.completions.create(**options).choices[0].message.content or ""
    stop = text[len(text) // 2 : len(text) // 2 + 7]
    cut = client.chat.completions.create(**options, stop=["never in there", stop]).choices[0]
    assert cut.message.content == text[: text.index(stop)]
    assert cut.finish_reason == "stop"


def test_seeds(client: OpenAI) -> None:
    """Equal seeds give equal answers; without one they differ."""
    options: dict[str, Any] = {"model": "smollm2", "messages": QUESTION, "temperature": 1.5, "max_tokens": 16}

    def answer(**more: Any) -> str | None:
        return client.chat.completions.create(**options, **more).choices[0].message.content

    assert answer(seed=7) == answer(seed=7)
    assert len({answer() for _ in range(4)}) > 1


def test_sampling_of_the_model_map(client: OpenAI) -> None:
    """An entry's values hold unless the request says otherwise."""
    options: dict[str, Any] = {"messages": QUESTION, "max_tokens": 16, "seed": 3}
    greedy = [client.chat.completions.create(model="greedy", **options) for _ in range(2)]
    hot = client.chat.completions.create(model="greedy", temperature=2, top_p=1, **options)
    texts = [completion.choices[0].message.content for completion in (*greedy, hot)]
    assert texts[0] == texts[1] != texts[2]


def test_the_model_ends_by_itself(client: OpenAI) -> None:
    """finish_reason stop."""
    messages: list[Any] = [{"role": "user", "content": "Answer with one word: yes or no?"}]
    completion = client.chat.completions.create(model="smollm2", messages=messages, temperature=0, max_tokens=200)
    assert completion.choices[0].finish_reason == "stop"


def test_developer_and_parts(client: OpenAI) -> None:
    """What newer clients send renders as well."""
    messages: list[Any] = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    completion = client.chat.completions.create(model="smollm2", messages=messages, max_completion_tokens=4)
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 4


def test_a_prompt_longer_than_the_context(client: OpenAI) -> None:
    """BadRequestError with both numbers; nothing is cut silently."""
    messages: list[Any] = [{"role": "user", "content": "lighthouse " * 1000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"512 tokens.* 10\d\d tokens") as caught:
            client.chat.completions.create(model="smollm2", messages=messages, stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.param == "messages"


def test_a_full_context_ends_the_answer(client: OpenAI) -> None:
    """finish_reason length where the context is full, without any limit in the request."""
    messages: list[Any] = [{"role": "user", "content": "x"}]
    completion = client.chat.completions.create(model="tiny", messages=messages, temperature=2)
    assert completion.usage is not None
    assert completion.choices[0].finish_reason == "stop" or completion.usage.total_tokens >= 127


def test_error_classes(client: OpenAI, server: ServerProcess) -> None:
    """The SDK raises what it would raise with OpenAI."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nope", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=3)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")


@pytest.mark.parametrize("model", ["missing", "random", "cut"])
def test_files_that_are_no_models(client: OpenAI, model: str) -> None:
    """503 with a reason; the next request for another model is served."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=QUESTION)
    assert caught.value.status_code == 503
    assert caught.value.code == "model_load_failed"
    assert client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=2).choices


def test_models(client: OpenAI, models: dict[str, Any]) -> None:
    """The list and one of it."""
    listed = [model.id for model in client.models.list()]
    assert listed == [*models, "assistant", "storyteller", "translator"]
    assert client.models.retrieve("smollm2").created > 0


def test_async_client(server: ServerProcess) -> None:
    """Several streams at once through the async SDK: each gets its whole answer."""

    async def ask(client: openai.AsyncOpenAI, i: int) -> str | None:
        stream = await client.chat.completions.create(
            model="tiny", messages=QUESTION, stream=True, max_tokens=5 + i, temperature=0
        )
        return [chunk.choices[0].finish_reason async for chunk in stream][-1]

    async def ask_all() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(6)))

    assert set(asyncio.run(ask_all())) <= {"length", "stop"}


def test_a_disconnect_frees_the_engine(client: OpenAI, server: ServerProcess) -> None:
    """In the middle of an answer: the next request does not wait for its end."""
    body = {"model": "long", "messages": QUESTION, "stream": True, "max_tokens": 8000, "ignore_eos": True}
    connection = server.connect()
    connection.sendall(server.request("POST", "/v1/chat/completions", body))
    read_until(connection, b'"content":"')
    read_until(connection, b'"content":"')
    connection.close()
    began = time.monotonic()
    client.chat.completions.create(model="long", messages=QUESTION, max_tokens=1)
    assert time.monotonic() - began < 20, "the answer would take minutes"


def test_kill_9_of_the_engine(client: OpenAI, server: ServerProcess) -> None:
    """The stream goes on, made by another engine."""
    client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=1)
    pid = server.engine_pid
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "_native" in maps, "this is the engine"
    assert "gevent" not in maps
    stream = client.chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, stream=True, max_tokens=120
    )
    next(stream)
    os.kill(pid, signal.SIGKILL)
    assert list(stream)[-1].choices[0].finish_reason in ("length", "stop"), "whole; its words may be others"
    assert not is_alive(pid)
    assert server.engine_pid != pid
    assert "_native" not in Path(f"/proc/{server.worker_pid()}/maps").read_text()


def test_a_bad_tool_is_named_by_its_place_in_the_request(client: OpenAI) -> None:
    """Also where only some of the tools may be called, and where they are called functions."""
    good = {"name": "good", "parameters": {"type": "object", "properties": {}}}
    remote = {"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}
    functions: Any = [good, {"name": "bad", "parameters": remote}]
    tools: Any = [{"type": "function", "function": function} for function in functions]
    only = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "bad"}}]}
    kinds: list[tuple[dict[str, Any], str]] = [
        ({"tools": tools}, "tools[1].function.parameters"),
        (
            {"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": only}},
            "tools[1].function.parameters",
        ),
        ({"functions": functions}, "functions[1].parameters"),
    ]
    for fields, param in kinds:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="smollm2", messages=QUESTION, **fields)
        assert (caught.value.code, caught.value.param) == ("invalid_function_parameters", param)
