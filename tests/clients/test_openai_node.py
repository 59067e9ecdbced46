"""openai-node: node/openai.mjs asks, this judges what came back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from node_clients import NodeClients
from server_process import ServerProcess
from shapes import ARGUMENTS, MODEL, GetWeather, Weather, environ

Result = Callable[[str], Any]


@pytest.fixture(scope="module")
def results(node: NodeClients, server: ServerProcess, fake_server: ServerProcess) -> dict[str, Any]:
    """What each case gave."""
    return node.run("openai.mjs", timeout_s=300, **environ(server.url, fake_server.url))


@pytest.fixture
def result(results: dict[str, Any]) -> Result:
    """What a case gave that must have gone well."""

    def look(case: str) -> Any:
        value = results[case]
        assert not (isinstance(value, dict) and value.get("error")), value["error"]
        return value

    return look


def text_of(chunks: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def content(completion: Any, index: int = 0) -> Any:
    return completion["choices"][index]["message"]["content"]


def test_chat(result: Result) -> None:
    """Plain, streamed and through the helper it is one answer."""
    plain = result("plain")
    assert content(plain)
    assert text_of(result("streamed")) == content(plain)
    helper = result("helper")
    assert "".join(helper["deltas"]) == content(helper["final"]) == content(result("stop"))
    assert result("response")["status"] == 200
    assert result("response")["request_id"]


def test_usage_of_a_stream(result: Result) -> None:
    """Only when asked for, in a last chunk of its own."""
    *chunks, last = result("usage")
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == result("plain")["usage"]["total_tokens"]
    assert all(chunk["usage"] is None for chunk in chunks)


def test_choices_seeds_and_stops(result: Result) -> None:
    """n answers, the same for the same seed; the text holds no stop string."""
    several = result("n")
    assert content(several, 0) != content(several, 1)
    same, again, other = map(content, result("seed"))
    assert same == again != other
    stopped = result("stop")
    assert not set(content(stopped)) & set("ae")


def test_logprobs(result: Result) -> None:
    """They come for each token, with the alternatives asked for."""
    entries = result("logprobs")["choices"][0]["logprobs"]["content"]
    assert len(entries) == result("logprobs")["usage"]["completion_tokens"]
    assert {len(entry["top_logprobs"]) for entry in entries} == {2}


@pytest.mark.parametrize("case", ["required", "named", "helper_call"])
def test_calls(result: Result, case: str) -> None:
    """A call that must be is made, with arguments that fit."""
    [call] = result(case)["choices"][0]["message"]["tool_calls"]
    ARGUMENTS[call["function"]["name"]].model_validate_json(call["function"]["arguments"])
    assert case == "required" or call["function"]["name"] == "get_weather"


def test_a_streamed_call(result: Result) -> None:
    """Its pieces are the arguments of the plain one."""
    deltas = [
        call for chunk in result("streamed_call") for call in chunk["choices"][0]["delta"].get("tool_calls") or ()
    ]
    [plain] = result("named")["choices"][0]["message"]["tool_calls"]
    assert "".join(delta["function"].get("arguments", "") for delta in deltas) == plain["function"]["arguments"]


def test_calls_that_may_be(result: Result) -> None:
    """auto: whatever a model says is no error."""
    assert result("auto")["choices"][0]["finish_reason"] in ("stop", "tool_calls", "length")


def test_tools_that_the_sdk_runs(result: Result) -> None:
    """runTools calls the function with what the model chose."""
    [called] = result("run_tools")
    GetWeather.model_validate(called)


def test_parsed(result: Result) -> None:
    """zod shapes hold, for texts and for arguments; a stream gives the same."""
    plain = result("parsed")["choices"][0]["message"]["parsed"]
    Weather.model_validate(plain)
    assert result("parsed_stream")["choices"][0]["message"]["parsed"] == plain
    [call] = result("parsed_call")["choices"][0]["message"]["tool_calls"]
    assert call["function"]["parsed_arguments"]["city"] in ("Kyoto", "Sapporo", "Naha")


def test_completions(result: Result) -> None:
    """A text goes on, plain as streamed."""
    pieces = result("completion_stream")
    assert (
        "".join(c["text"] for piece in pieces for c in piece["choices"]) == result("completion")["choices"][0]["text"]
    )


def test_embeddings(result: Result) -> None:
    """What the SDK decodes from base64 is what it gets as floats."""
    decoded, floats = result("embeddings"), result("embeddings_float")
    for one, other in zip(decoded["data"], floats["data"], strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], abs=1e-5)


def test_models(result: Result) -> None:
    """Listed and fetched."""
    assert MODEL in result("models")
    assert result("model")["id"] == MODEL


def test_responses(result: Result) -> None:
    """Plain, streamed and through the helper it is one answer."""
    plain, events = result("responses"), result("responses_stream")
    assert plain["output_text"]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == result("responses_helper")["output_text"] == plain["output_text"]
    first, second = result("responses_conversation")
    assert second > first


def test_shapes_and_calls_of_responses(result: Result) -> None:
    """They hold there too."""
    Weather.model_validate(result("responses_parsed")["output_parsed"])
    [call] = [item for item in result("responses_call")["output"] if item["type"] == "function_call"]
    GetWeather.model_validate_json(call["arguments"])


@pytest.mark.parametrize(
    ("case", "error", "code", "param"),
    [
        ("bad_request", "BadRequestError", "decimal_above_max_value", "temperature"),
        ("bad_stream", "BadRequestError", "decimal_above_max_value", "temperature"),
        ("too_long", "BadRequestError", "context_length_exceeded", "messages"),
        ("unknown_model", "NotFoundError", "model_not_found", None),
        ("wrong_key", "AuthenticationError", "invalid_api_key", None),
        ("unknown_url", "NotFoundError", "unknown_url", None),
        ("engine_died", "InternalServerError", "engine_crashed", None),
    ],
)
def test_errors(results: dict[str, Any], case: str, error: str, code: str, param: str | None) -> None:
    """The class is the one it would be with OpenAI."""
    told = results[case]["error"]
    assert (told["class"], told["code"], told["param"]) == (error, code, param)


def test_an_error_inside_a_stream(results: dict[str, Any]) -> None:
    """It is thrown where the stream is read, after the text that came before."""
    told = results["late_error"]
    assert "".join(told["texts"]).startswith("one")
    assert (told["error"]["class"], told["error"]["code"]) == ("APIError", "internal_error")


@pytest.mark.parametrize("case", ["break", "abort"])
def test_leaving_a_stream(result: Result, case: str) -> None:
    """Whoever stops reading, or aborts, frees the engine."""
    told = result(case)
    assert told["n"] >= 1
    assert told["is_freed"]


@pytest.mark.parametrize(
    ("case", "error"), [("abort_plain", "APIUserAbortError"), ("timeout", "APIConnectionTimeoutError")]
)
def test_leaving_an_answer(result: Result, case: str, error: str) -> None:
    """So does who does not wait for the whole answer."""
    assert result(case) == {"class": error, "is_freed": True}
