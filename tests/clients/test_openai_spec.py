"""The judge itself: OpenAI's own examples pass, bodies with one fault do not, and the fault is named."""

from __future__ import annotations

import copy
from typing import Any

import openai_spec
import pytest

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "x", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 4,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "x",
    "logprobs": [],
}


def test_good_bodies() -> None:
    """What OpenAI could have sent is valid, fields that it does not know included."""
    openai_spec.assert_valid("CreateChatCompletionResponse", {**COMPLETION, "timings": {}})
    openai_spec.assert_valid("ResponseStreamEvent", DELTA)


@pytest.mark.parametrize(
    ("place", "key", "value", "problem"),
    [
        ("choices.0", "logprobs", ..., "$.choices[0]: 'logprobs' is a required property"),
        ("choices.0.message", "refusal", ..., "$.choices[0].message: 'refusal' is a required property"),
        ("choices.0.message", "content", 1, "$.choices[0].message.content: 1 is not of type 'string'"),
        ("usage", "total_tokens", "2", "$.usage.total_tokens: '2' is not of type 'integer'"),
        ("", "object", "chat", "$.object: 'chat' is not one of ['chat.completion']"),
    ],
)
def test_faults_of_a_completion(place: str, key: str, value: object, problem: str) -> None:
    """One missing key or wrong value is found where it is."""
    body: Any = copy.deepcopy(COMPLETION)
    inner = body
    for step in filter(None, place.split(".")):
        inner = inner[int(step) if step.isdigit() else step]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    assert openai_spec.problems("CreateChatCompletionResponse", body) == [problem]


def test_faults_of_an_event() -> None:
    """An event is judged as the one that its type names."""
    missing = {key: value for key, value in DELTA.items() if key != "logprobs"}
    assert openai_spec.problems("ResponseStreamEvent", missing) == ["$: 'logprobs' is a required property"]
    [problem] = openai_spec.problems("ResponseStreamEvent", {**DELTA, "type": "response.whatever"})
    assert problem.startswith("$.type: 'response.whatever' is not one of")


def test_the_fields_of_requests() -> None:
    """Those inherited and those of every variant are among them."""
    assert {"messages", "logit_bias", "metadata", "user"} <= openai_spec.fields_of("CreateChatCompletionRequest").keys()
    assert {"input", "metadata", "truncation"} <= openai_spec.fields_of("CreateResponse").keys()
    assert {"tool_call_id", "refusal"} <= openai_spec.fields_of("ChatCompletionRequestMessage").keys()


def test_a_component_that_is_not_there() -> None:
    """A name that is misspelt is told, and judges nothing."""
    with pytest.raises(KeyError, match=r"OpenAPI document of .* has no CreateChat"):
        openai_spec.problems("CreateChat", {})
