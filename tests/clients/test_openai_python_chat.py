"""openai-python: chat completions, in every way that the SDK has to ask for one."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from python_clients import Client
from shapes import MODEL, QUESTION
from tiny_gguf import SPECIAL_TOKENS

CHAT: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24}


def create(client: Client, **options: Any) -> ChatCompletion:
    made: ChatCompletion = client.one(lambda api: api.chat.completions.create(**{**CHAT, **options}))
    return made


def stream(client: Client, **options: Any) -> list[Any]:
    return client.all(lambda api: api.chat.completions.create(stream=True, **{**CHAT, **options}))


def text_of(chunks: list[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_plain(client: Client) -> None:
    """One answer with all that belongs to it."""
    made = create(client)
    [choice] = made.choices
    assert choice.message.content
    assert (choice.message.role, choice.message.refusal, choice.message.tool_calls) == ("assistant", None, None)
    assert choice.finish_reason in ("stop", "length")
    assert made.model == MODEL
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.completion_tokens_details is not None
    assert made.usage.completion_tokens_details.reasoning_tokens == 0
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details.cached_tokens is not None


def test_a_stream_is_the_plain_answer(client: Client) -> None:
    """Greedy: its pieces are the plain text; the role comes first, the end in a chunk without text."""
    made, chunks = create(client), stream(client)
    assert text_of(chunks) == made.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.choices[0].delta.role for chunk in chunks[1:]} == {None}
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [
        *[None] * (len(chunks) - 1),
        made.choices[0].finish_reason,
    ]
    assert {chunk.usage for chunk in chunks} == {None}


def test_usage_of_a_stream(client: Client) -> None:
    """Asked for, it comes after the end in a chunk without choices, and is that of the plain answer."""
    made, (*chunks, last) = create(client), stream(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.model_dump(exclude={"prompt_tokens_details"}) == made.usage.model_dump(  # type: ignore[union-attr]
        exclude={"prompt_tokens_details"}
    )
    assert {chunk.usage for chunk in chunks} == {None}


def test_the_stream_helper(client: Client) -> None:
    """`.stream()` makes of the chunks what a plain request gives; what was cut is told as the SDK tells it."""
    text = create(client).choices[0].message.content or ""
    options = {**CHAT, "stop": [text[10:14]]}
    events, final = client.helper(lambda api: api.chat.completions.stream(**options), "get_final_completion")
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == (
        text[: text.index(text[10:14])],
        "stop",
    )
    deltas = [event.delta for event in events if event.type == "content.delta"]
    [done] = [event for event in events if event.type == "content.done"]
    assert "".join(deltas) == done.content == final.choices[0].message.content
    with pytest.raises(openai.LengthFinishReasonError):
        client.helper(lambda api: api.chat.completions.stream(**{**CHAT, "max_tokens": 1}), "get_final_completion")


def test_several_choices(client: Client) -> None:
    """n answers of one prompt, each another; the first is the one of n=1; streamed they are the same."""
    options: dict[str, Any] = {"temperature": 1.5, "seed": 3}
    made = create(client, n=3, **options)
    texts = [choice.message.content for choice in made.choices]
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts[0] == create(client, **options).choices[0].message.content
    chunks = stream(client, n=3, **options)
    assert [text_of(chunks, index) for index in range(3)] == texts
    assert made.usage is not None
    assert made.usage.prompt_tokens == create(client).usage.prompt_tokens  # type: ignore[union-attr]


@pytest.mark.parametrize("n_top", [0, 4])
def test_logprobs(client: Client, n_top: int) -> None:
    """Each token with its bytes, its own log-probability and the likeliest ones; greedy takes the first of those."""
    made = create(client, logprobs=True, top_logprobs=n_top)
    [choice] = made.choices
    assert choice.logprobs is not None
    assert choice.logprobs.refusal is None
    entries = choice.logprobs.content
    assert entries is not None
    assert b"".join(bytes(entry.bytes or ()) for entry in entries).decode(errors="replace") == choice.message.content
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == n_top
        if n_top:
            assert entry.top_logprobs[0].token == entry.token
            assert [top.logprob for top in entry.top_logprobs] == sorted(
                (top.logprob for top in entry.top_logprobs), reverse=True
            )
    streamed = [
        entry.token
        for chunk in stream(client, logprobs=True, top_logprobs=n_top)
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content or ()
    ]
    assert streamed == [entry.token for entry in entries]


def test_no_logprobs_unless_asked_for(client: Client) -> None:
    """They are null then, plain and streamed."""
    assert create(client).choices[0].logprobs is None
    assert {chunk.choices[0].logprobs for chunk in stream(client)} == {None}


def test_stop(client: Client) -> None:
    """The text ends before the string; a stream sends none of it."""
    text = create(client, max_tokens=60).choices[0].message.content or ""
    stop = text[len(text) // 2 : len(text) // 2 + 4]
    made = create(client, max_tokens=60, stop=["never in there", stop]).choices[0]
    assert (made.message.content, made.finish_reason) == (text[: text.index(stop)], "stop")
    assert text_of(stream(client, max_tokens=60, stop=stop)) == made.message.content


def test_seed(client: Client) -> None:
    """The same seed gives the same answer, another one another."""
    texts = [create(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_logit_bias(client: Client) -> None:
    """A token that is banned does not come; one that is pushed comes always."""
    token = len(SPECIAL_TOKENS) + ord("e")
    assert create(client, logit_bias={str(token): 100}, max_tokens=4).choices[0].message.content == "eeee"
    assert "e" not in (create(client, logit_bias={str(token): -100}).choices[0].message.content or "e")


def test_an_answer_that_was_begun(client: Client) -> None:
    """A last message of the assistant's is continued."""
    text = create(client).choices[0].message.content or ""
    begun = [*QUESTION, {"role": "assistant", "content": text[:5]}]
    rest = create(client, messages=begun, max_tokens=8).choices[0].message.content
    assert rest
    assert not rest.startswith(text[:5])


def test_roles_and_parts(client: Client) -> None:
    """developer is system under its newer name; a text may come as a part."""
    counts = {
        create(client, max_tokens=1, messages=[{"role": role, "content": content}, *QUESTION]).usage.prompt_tokens  # type: ignore[union-attr]
        for role in ("system", "developer")
        for content in ("Be brief.", [{"type": "text", "text": "Be brief."}])
    }
    assert len(counts) == 1


def test_raw_response(client: Client) -> None:
    """with_raw_response gives headers and body; parsed it is the same object."""
    raw = client.one(lambda api: api.chat.completions.with_raw_response.create(**CHAT))
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"] == raw.request_id
    assert json.loads(raw.text)["id"] == raw.parse().id


def test_streaming_response(client: Client) -> None:
    """with_streaming_response gives the lines of the stream, of which the last is [DONE]."""

    def call(api: Any) -> Any:
        return api.chat.completions.with_streaming_response.create(stream=True, **CHAT)

    lines = client.lines(call)
    assert lines[-1] == "data: [DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(line.removeprefix("data: ")) for line in lines[:-1]]
    assert text_of(chunks) == create(client).choices[0].message.content
