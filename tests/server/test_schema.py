"""Bad requests: the status, type, param and code that OpenAI would send."""

from __future__ import annotations

import json
import math
import re

import pytest
from bodies import GOOD, mutated
from hypothesis import given

from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines.wire import Sampling
from hoshikage_server.errors import RequestError, kind_of


def refusal(body: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_chat(body if isinstance(body, bytes) else json.dumps(body).encode())
    error = caught.value
    for language in ("en", "ja"):
        assert not re.search(r"\{[a-z_]+\}", error.text(language)), "every placeholder is filled"
    return error


def message(**fields: object) -> dict[str, object]:
    return {**GOOD, "messages": [{"role": "user", "content": "x"}, fields]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        json.dumps(GOOD).encode() + b" x",
        b"\xff\xfe",
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b'{"temperature": NaN}',
        b'{"user": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(8),
)
def test_what_is_no_json(body: bytes) -> None:
    """400 with OpenAI's null code."""
    error = refusal(body)
    assert error.code == "invalid_json"
    assert (kind_of(error.code).status, kind_of(error.code).public_code) == (400, None)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_type", None),
        (b'{"model": "m", "messages": ' + b"[" * 100_000, "invalid_type", "messages[0]"),
        (None, "invalid_type", None),
        ("x", "invalid_type", None),
        ({}, "missing_required_parameter", "model"),
        ({"model": "m"}, "missing_required_parameter", "messages"),
        ({**GOOD, "model": 1}, "invalid_type", "model"),
        ({**GOOD, "model": None}, "invalid_type", "model"),
        ({**GOOD, "model": ""}, "empty_string", "model"),
        ({**GOOD, "messages": []}, "empty_array", "messages"),
        ({**GOOD, "messages": "x"}, "invalid_type", "messages"),
        ({**GOOD, "messages": ["x"]}, "invalid_type", "messages[0]"),
        ({**GOOD, "messages": [{}]}, "missing_required_parameter", "messages[0].role"),
        (message(content="x"), "missing_required_parameter", "messages[1].role"),
        (message(role="user"), "missing_required_parameter", "messages[1].content"),
        (message(role="foo", content="x"), "invalid_value", "messages[1].role"),
        (message(role=3, content="x"), "invalid_type", "messages[1].role"),
        (message(role=None, content="x"), "invalid_type", "messages[1].role"),
        (message(role="user", content=3), "invalid_type", "messages[1].content"),
        (message(role="user", content=None), "invalid_type", "messages[1].content"),
        (message(role="user", content=[]), "empty_array", "messages[1].content"),
        (message(role="user", content=[{}]), "missing_required_parameter", "messages[1].content[0].type"),
        (message(role="user", content=[{"type": "x"}]), "invalid_value", "messages[1].content[0].type"),
        (message(role="user", content=[{"type": "text"}]), "missing_required_parameter", "messages[1].content[0].text"),
        (message(role="user", content=[{"type": "image_url"}]), "unsupported_value", "messages[1].content[0].type"),
        (message(role="tool", content="x"), "unsupported_value", "messages[1].role"),
        (message(role="function", content="x"), "unsupported_value", "messages[1].role"),
        (message(role="assistant"), "missing_required_parameter", "messages[1].content"),
        (message(role="assistant", tool_calls=[]), "unsupported_parameter", "messages[1].tool_calls"),
        ({**GOOD, "temperature": "1"}, "invalid_type", "temperature"),
        ({**GOOD, "temperature": True}, "invalid_type", "temperature"),
        ({**GOOD, "temperature": 2.1}, "decimal_above_max_value", "temperature"),
        ({**GOOD, "temperature": -0.1}, "decimal_below_min_value", "temperature"),
        (
            b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
            "decimal_above_max_value",
            "temperature",
        ),
        ({**GOOD, "top_p": 1.1}, "decimal_above_max_value", "top_p"),
        ({**GOOD, "top_p": -1}, "decimal_below_min_value", "top_p"),
        ({**GOOD, "presence_penalty": 3}, "decimal_above_max_value", "presence_penalty"),
        ({**GOOD, "frequency_penalty": -3}, "decimal_below_min_value", "frequency_penalty"),
        ({**GOOD, "min_p": 2}, "decimal_above_max_value", "min_p"),
        ({**GOOD, "top_k": -2}, "integer_below_min_value", "top_k"),
        ({**GOOD, "repeat_penalty": 0}, "decimal_below_min_value", "repeat_penalty"),
        ({**GOOD, "max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({**GOOD, "max_tokens": 1.5}, "invalid_type", "max_tokens"),
        ({**GOOD, "max_tokens": 10**30}, "integer_above_max_value", "max_tokens"),
        ({**GOOD, "max_completion_tokens": -1}, "integer_below_min_value", "max_completion_tokens"),
        ({**GOOD, "max_tokens": 1, "max_completion_tokens": 1}, "max_tokens_twice", "max_tokens"),
        ({**GOOD, "seed": 2**63}, "integer_above_max_value", "seed"),
        ({**GOOD, "seed": -(2**63) - 1}, "integer_below_min_value", "seed"),
        ({**GOOD, "seed": "1"}, "invalid_type", "seed"),
        ({**GOOD, "stop": ["a"] * 5}, "array_above_max_length", "stop"),
        ({**GOOD, "stop": [1]}, "invalid_type", "stop[0]"),
        ({**GOOD, "stop": 1}, "invalid_type", "stop"),
        ({**GOOD, "stop": ""}, "empty_string", "stop"),
        ({**GOOD, "stop": ["a", ""]}, "empty_string", "stop[1]"),
        ({**GOOD, "stream": 1}, "invalid_type", "stream"),
        ({**GOOD, "stream_options": {}}, "stream_options_without_stream", "stream_options"),
        ({**GOOD, "stream": True, "stream_options": 1}, "invalid_type", "stream_options"),
        (
            {**GOOD, "stream": True, "stream_options": {"include_usage": 1}},
            "invalid_type",
            "stream_options.include_usage",
        ),
        ({**GOOD, "n": 0}, "integer_below_min_value", "n"),
        ({**GOOD, "n": 129}, "integer_above_max_value", "n"),
        ({**GOOD, "n": 2}, "unsupported_value", "n"),
        ({**GOOD, "logprobs": True}, "unsupported_value", "logprobs"),
        ({**GOOD, "top_logprobs": 3}, "unsupported_parameter", "top_logprobs"),
        ({**GOOD, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
        ({**GOOD, "logit_bias": {"1": 1}}, "unsupported_parameter", "logit_bias"),
        ({**GOOD, "logit_bias": []}, "invalid_type", "logit_bias"),
        ({**GOOD, "tools": []}, "unsupported_parameter", "tools"),
        ({**GOOD, "tool_choice": "auto"}, "unsupported_value", "tool_choice"),
        ({**GOOD, "tool_choice": {"type": "function"}}, "unsupported_value", "tool_choice"),
        ({**GOOD, "functions": [{}]}, "unsupported_parameter", "functions"),
        ({**GOOD, "function_call": "auto"}, "unsupported_value", "function_call"),
        ({**GOOD, "response_format": {"type": "json_object"}}, "unsupported_value", "response_format.type"),
        ({**GOOD, "response_format": {}}, "missing_required_parameter", "response_format.type"),
        ({**GOOD, "response_format": "text"}, "invalid_type", "response_format"),
        ({**GOOD, "modalities": ["text", "audio"]}, "unsupported_value", "modalities"),
        ({**GOOD, "audio": {"voice": "alloy"}}, "unsupported_parameter", "audio"),
        ({**GOOD, "web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    ],
    ids=lambda value: None if not isinstance(value, str) else value,
)
def test_bad_fields(body: object, code: str, param: str | None) -> None:
    """The field that is to blame, and what about it."""
    error = refusal(body)
    assert (error.code, error.param) == (code, param)
    assert kind_of(error.code).status == 400
    assert kind_of(error.code).type == "invalid_request_error"


def twice(field: str, first: str, second: str) -> bytes:
    values = {"model": '"m"', "messages": '[{"role":"user","content":"x"}]'}
    values.pop(field, None)
    rest = "".join(f',"{name}":{value}' for name, value in values.items())
    return f'{{"{field}":{first},"{field}":{second}{rest}}}'.encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (twice("model", "1", '"m"'), "model"),
        (twice("model", '""', '"m"'), "model"),
        (twice("temperature", "9", "1"), "temperature"),
        (twice("temperature", "9", "null"), "temperature"),
        (twice("temperature", '"x"', "1"), "temperature"),
        (twice("temperature", "1e999", "1"), "temperature"),
        (twice("max_tokens", "0", "true"), "max_tokens"),
        (twice("max_tokens", "9" * 5000, "1"), "max_tokens"),
        (twice("stop", '["a","a","a","a","a"]', "1"), "stop"),
        (twice("stop", '["a","a","a","a","a"]', '["a"]'), "stop"),
        (twice("messages", "[]", '[{"role":"user","content":"x"}]'), "messages"),
        (twice("messages", "[]", "null"), "messages"),
        (b'{"model":"m","messages":[{"role":"foo","role":"user","content":"x"}]}', "messages[0].role"),
    ],
)
def test_duplicate_keys(body: bytes, param: str) -> None:
    """The complaint is about the first value, found is the last: no message takes one for the other."""
    error = refusal(body)
    assert (error.code, error.param) == ("duplicate_parameter", param)


@pytest.mark.parametrize(
    "body",
    [
        twice("temperature", "1", "9"),
        twice("seed", "1", str(2**63)),
        twice("stop", '["a","a","a","a","a"]', '["a","a","a","a","a","a"]'),
        b'{"model":"m","messages":[{"role":1}],"messages":[]}',
        b'{"model":"m","temperature":9,"messages":[',
        b'{"model":"m","stop":["a","a","a","a","a"],"messages":[',
        b'{"model":"m","stop":1,"messages":[',
    ],
    ids=range(7),
)
def test_values_that_are_not_found(body: bytes) -> None:
    """A duplicate that is bad too, a path that leads elsewhere, a body that is no JSON further on: still a 400."""
    assert kind_of(refusal(body).code).status == 400


@pytest.mark.parametrize(
    ("fields", "english", "japanese"),
    [
        ({"stop": 1}, "expected a string or an array, but got an integer", "文字列または配列が必要ですが、整数でした"),
        ({"model": None}, "expected a string, but got null", "文字列が必要ですが、nullでした"),
        ({"temperature": "x"}, "expected a decimal, but got a string", "数値が必要ですが、文字列でした"),
        ({"stream": {}}, "expected a boolean, but got an object", "真偽値が必要ですが、オブジェクトでした"),
        ({"logprobs": True}, "does not support true ", "値 true には"),
        ({"modalities": ["text", "x"]}, 'does not support ["text", "x"] ', '値 ["text", "x"] には'),
        ({"tool_choice": {"a": None}}, 'does not support {"a": null} ', '値 {"a": null} には'),
        ({"tool_choice": "a\n\u2028'"}, "does not support 'a\\n\\u2028''", "値 'a\\n\\u2028'' には"),
        ({"max_tokens": 10**30}, f"<= 2147483647, but got {10**30}", "2147483647 以下"),
    ],
    ids=range(9),
)
def test_messages_of_bad_values(fields: dict[str, object], english: str, japanese: str) -> None:
    """Wholly in one language; values are spelled as in JSON."""
    error = refusal({**GOOD, **fields})
    assert english in error.text("en")
    assert japanese in error.text("ja")


@pytest.mark.parametrize("sign", ["", "-"])
def test_numbers_beyond_all_bounds(sign: str) -> None:
    """5,000 digits: more than Python turns into an int."""
    number = sign + "9" * 5000
    for field, code in (
        ("max_tokens", "number_out_of_range"),
        ("temperature", "decimal_below_min_value" if sign else "decimal_above_max_value"),
    ):
        error = refusal(json.dumps({**GOOD, field: 0}).replace(": 0", f": {number}").encode())
        assert (error.code, error.param) == (code, field)


@pytest.mark.parametrize("value", [0, 1, True, "x", "", {}, []])
@pytest.mark.parametrize("field", ["grammar", "ignore_eos", "repeat_last_n", "dry_multiplier", "reasoning_format"])
def test_extensions_that_are_not_honoured_yet(field: str, value: object) -> None:
    """Refused, not ignored."""
    error = refusal({**GOOD, field: value})
    assert (error.code, error.param) == ("unsupported_parameter", field)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"grammar": None, "ignore_eos": False, "timings_per_token": False, "chat_template_kwargs": None},
        {"cache_prompt": True, "prompt_cache_key": "x"},
        dict.fromkeys(name for name in ChatRequest.__struct_fields__ if name not in GOOD),
        {"user": "u", "metadata": {"a": "b"}, "store": True, "safety_identifier": "x", "service_tier": "auto"},
        {"reasoning_effort": "low", "verbosity": "low", "prediction": {"type": "content", "content": "x"}},
        {"no_such_field": [1, {"a": None}]},
        {"n": 1, "logprobs": False, "logit_bias": {}, "tool_choice": "none", "function_call": "none"},
        {"response_format": {"type": "text"}, "modalities": ["text"], "parallel_tool_calls": True},
        {"temperature": 0, "top_p": 1, "seed": -(2**63), "stop": ["a", "b", "c", "d"], "max_tokens": 1},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    ],
    ids=range(11),
)
def test_good_fields(fields: dict[str, object]) -> None:
    """Null is as good as nothing; what has no effect and what is unknown passes."""
    decode_chat(json.dumps({**GOOD, **fields}).encode())


def test_messages_become_plain() -> None:
    """All roles, and content as text or in parts."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
    ]
    request = decode_chat(json.dumps({"model": "m", "messages": messages}).encode())
    assert [(m["role"], m["content"]) for m in request.plain_messages()] == [
        ("system", "s"),
        ("developer", "d"),
        ("user", "a\nb"),
        ("assistant", "no"),
        ("assistant", "never"),
    ]


def test_sampling_holds_what_was_said_and_no_more() -> None:
    """None leaves the choice to those further down."""
    request = decode_chat(json.dumps({**GOOD, "temperature": 0, "seed": 3, "top_k": 0, "top_p": None}).encode())
    assert request.sampling() == Sampling(temperature=0, seed=3, top_k=0)
    assert request.stops == ()
    assert decode_chat(json.dumps({**GOOD, "stop": "x", "max_completion_tokens": 4}).encode()).token_limit == 4


@given(mutated())
def test_mutated_bodies(body: bytes) -> None:
    """Decoded or refused with a 400 that can be said in both languages; nothing else ever comes out."""
    refused: RequestError | None = None
    try:
        request = decode_chat(body)
        assert request.temperature is None or not math.isnan(request.temperature)
        request.plain_messages()
        request.sampling()
    except RequestError as error:
        refused = error
    if refused is not None:
        assert kind_of(refused.code).status == 400
        for language in ("en", "ja"):
            refused.text(language).encode()
