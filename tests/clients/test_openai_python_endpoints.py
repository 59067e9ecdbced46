"""openai-python: text completions, embeddings, models and responses."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from python_clients import Client
from shapes import MAX_TOKENS, MODEL, QUESTION, GetWeather, Weather, flat_tool

PROMPT: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 12}
ASK: dict[str, Any] = {"model": MODEL, "input": "What is the weather in Kyoto?", "max_output_tokens": 24}
NAMED: dict[str, Any] = {
    "tools": [flat_tool(GetWeather)],
    "tool_choice": {"type": "function", "name": "get_weather"},
    "max_output_tokens": MAX_TOKENS,
}


def complete(client: Client, **options: Any) -> Any:
    return client.one(lambda api: api.completions.create(**{**PROMPT, **options}))


def lenient(api: Any) -> Any:
    """Without validation: the SDK's own model of a streamed piece wants each to be the last one."""
    return api.with_options(_extra_kwargs={"_strict_response_validation": False})


def test_completions(client: Client) -> None:
    """A prompt goes on; a stream of it is the same text."""
    made = complete(client)
    pieces = client.all(lambda api: lenient(api).completions.create(stream=True, **PROMPT))
    assert made.object == "text_completion"
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == made.choices[0].text
    assert made.usage.completion_tokens <= 12


def test_usage_of_streamed_completions(client: Client) -> None:
    """Asked for, it comes last, with no choices."""
    *pieces, last = client.all(
        lambda api: lenient(api).completions.create(stream=True, stream_options={"include_usage": True}, **PROMPT)
    )
    assert (last.choices, last.usage.completion_tokens) == ([], complete(client).usage.completion_tokens)
    assert {piece.usage for piece in pieces} == {None}


def test_several_prompts(client: Client) -> None:
    """The answers come in the order of the prompts, n of each."""
    made = complete(client, prompt=["Once", "Never"], n=2)
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    assert made.choices[0].text == complete(client, prompt="Once").choices[0].text
    assert made.choices[2].text == complete(client, prompt="Never").choices[0].text


@pytest.mark.parametrize("prompt", [["a", "x " * 5000], [[70], [70, 99_999]]], ids=["too long", "no token"])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_one_of_several_prompts_that_cannot_be(client: Client, prompt: Any, is_streamed: bool) -> None:
    """It is named, and none is answered; a stream does not begin."""
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, prompt=prompt, stream=is_streamed)
    assert caught.value.param == "prompt[1]"


def test_echo(client: Client) -> None:
    """echo gives the prompt too, and then what comes without it."""
    assert complete(client, echo=True).choices[0].text == PROMPT["prompt"] + complete(client).choices[0].text


def test_logprobs(client: Client) -> None:
    """Tokens, offsets and log-probabilities of the legacy shape fit the text; greedy takes the likeliest."""
    [choice] = complete(client, logprobs=2).choices
    told = choice.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) == len(told.top_logprobs) == 12
    assert told.text_offset[0] in (0, len(PROMPT["prompt"]))
    assert told.text_offset == sorted(told.text_offset)
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert logprob <= 0
        assert len(top) <= 3
        assert max(top.values()) == top[token] == logprob


def test_the_probabilities_of_a_prompt(client: Client) -> None:
    """echo with logprobs, nothing generated: the prompt's tokens, the first with null as with OpenAI, whose types do
    not know that.
    """
    options = {**PROMPT, "echo": True, "logprobs": 1, "max_tokens": 0}
    made = client.one(lambda api: lenient(api).completions.create(**options))
    [choice] = made.choices
    assert (choice.text, choice.finish_reason, made.usage.completion_tokens) == (PROMPT["prompt"], "length", 0)
    assert "".join(choice.logprobs.tokens) == PROMPT["prompt"]
    assert choice.logprobs.token_logprobs[0] is choice.logprobs.top_logprobs[0] is None
    for token, top in zip(choice.logprobs.tokens[1:], choice.logprobs.top_logprobs[1:], strict=True):
        assert token in top
        assert len(top) <= 2


def test_a_completion_with_a_stop(client: Client) -> None:
    """It ends before the string."""
    text = complete(client).choices[0].text
    assert complete(client, stop=text[3:5]).choices[0].text == text[: text.index(text[3:5])]


def test_embeddings(client: Client) -> None:
    """The SDK asks for base64 and decodes it; as floats they are the same; each of a list is its own."""

    def decoded(texts: Any) -> Any:  # the SDK's own model has no text, which is what it asks for
        return client.one(lambda api: lenient(api).embeddings.create(model=MODEL, input=texts))

    [one] = decoded("a").data
    [floats] = client.one(lambda api: api.embeddings.create(model=MODEL, input="a", encoding_format="float")).data
    many = decoded(["a", "b"])
    assert one.embedding == pytest.approx(floats.embedding, abs=1e-6)
    assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-3)
    assert [entry.index for entry in many.data] == [0, 1]
    assert many.data[0].embedding == pytest.approx(one.embedding, abs=1e-4)
    assert many.data[1].embedding != pytest.approx(one.embedding, abs=1e-4)
    assert many.usage.prompt_tokens == many.usage.total_tokens > 0


def test_models(client: Client) -> None:
    """All are listed, each can be fetched."""
    listed = client.all(lambda api: api.models.list())
    assert [model.id for model in listed] == ["tiny", "smollm2", "assistant", "storyteller", "translator"]
    assert client.one(lambda api: api.models.retrieve("smollm2")) == listed[1]
    with pytest.raises(openai.NotFoundError):
        client.one(lambda api: api.models.retrieve("nobody"))


def respond(client: Client, **options: Any) -> Any:
    return client.one(lambda api: api.responses.create(**{**ASK, **options}))


def test_responses(client: Client) -> None:
    """A response has its text; it is kept, found again and deleted."""
    made = respond(client)
    assert made.status in ("completed", "incomplete")
    assert made.output_text
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert (made.temperature, made.top_p) == (0.8, 0.95)  # llama.cpp's defaults
    assert client.one(lambda api: api.responses.retrieve(made.id)).model_dump() == made.model_dump()
    client.one(lambda api: api.responses.delete(made.id))
    with pytest.raises(openai.NotFoundError):
        client.one(lambda api: api.responses.retrieve(made.id))


def test_a_response_that_was_cut(client: Client) -> None:
    """It is incomplete, and says why."""
    made = respond(client, max_output_tokens=16, extra_body={"ignore_eos": True})
    assert (made.status, made.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_streamed_responses(client: Client) -> None:
    """The deltas are the text of the response that the last event holds."""
    events = client.all(lambda api: api.responses.create(stream=True, **ASK, temperature=0))
    final = events[-1].response
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == final.output_text
    assert events[0].type == "response.created"
    assert events[0].response.id == final.id
    assert final.output_text == respond(client, temperature=0).output_text


def test_the_helpers_of_responses(client: Client) -> None:
    """`.stream()` and `.parse()` give what a plain request gives, and pydantic models where asked."""
    options = {**ASK, "max_output_tokens": MAX_TOKENS, "temperature": 0, "text_format": Weather}
    parsed = client.one(lambda api: api.responses.parse(**options))
    _, final = client.helper(lambda api: api.responses.stream(**options), "get_final_response")
    assert isinstance(parsed.output_parsed, Weather)
    assert final.output_parsed == parsed.output_parsed


def test_a_conversation_of_responses(client: Client) -> None:
    """previous_response_id stands for all that was said before, which can be listed."""
    first = respond(client)
    second = respond(client, previous_response_id=first.id, input="And tomorrow?")
    said = [
        {"role": "user", "content": ASK["input"]},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And tomorrow?"},
    ]
    assert second.usage.input_tokens == respond(client, input=said).usage.input_tokens
    assert second.previous_response_id == first.id
    items = client.all(lambda api: api.responses.input_items.list(first.id))
    assert [item.content[0].text for item in items] == [ASK["input"]]


def test_instructions(client: Client) -> None:
    """They are counted, and told in the response."""
    made = respond(client, instructions="Be brief.", input=QUESTION)
    assert made.instructions == "Be brief."
    assert made.usage.input_tokens > respond(client, input=QUESTION).usage.input_tokens


def test_calls_of_responses(client: Client) -> None:
    """A named function is called, streamed and not, and its output goes back in."""
    made = respond(client, **NAMED, temperature=0)
    [call] = [item for item in made.output if item.type == "function_call"]
    GetWeather.model_validate_json(call.arguments)
    events = client.all(lambda api: api.responses.create(stream=True, **{**ASK, **NAMED}, temperature=0))
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    [done] = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert "".join(deltas) == done.arguments == call.arguments
    output = {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "grey"}'}
    options = {"tools": NAMED["tools"]}
    after = respond(client, previous_response_id=made.id, input=[output], **options)
    assert after.usage.input_tokens > made.usage.input_tokens
    history = [{"role": "user", "content": ASK["input"]}, *(item.model_dump() for item in made.output), output]
    assert respond(client, input=history, **options).usage.input_tokens == after.usage.input_tokens
