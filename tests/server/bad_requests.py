"""Chat requests that are refused with 400: what is wrong, and the `code` and `param` that say so.

Where it is known what OpenAI answers (from reports in the issues of its clients), code and spelling of the param are
OpenAI's. Codes are those a client sees; None is null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bodies import CALL, FUNCTION, GOOD, TOOL

SCHEMA = {"type": "object"}


@dataclass(frozen=True)
class Bad:
    """A body that is refused."""

    body: bytes
    code: str | None
    param: str | None

    def __str__(self) -> str:
        return f"{self.param}-{self.code}-{self.body[:60]!r}"


def bad(body: object, code: str | None, param: str | None) -> Bad:
    return Bad(body if isinstance(body, bytes) else json.dumps(body).encode(), code, param)


def field(name: str, value: object, code: str | None, param: str | None = None, **others: object) -> Bad:
    """A good body but for one field."""
    return bad({**GOOD, **others, name: value}, code, param or name)


def raw(fields: str | bytes, code: str | None, param: str | None) -> Bad:
    """A good body with more fields, as they are written."""
    more = fields if isinstance(fields, bytes) else fields.encode()
    return Bad(json.dumps(GOOD).encode()[:-1] + b", " + more + b"}", code, param)


def message(code: str | None, param: str, **fields: object) -> Bad:
    """A message after a good one."""
    return bad({**GOOD, "messages": [*GOOD["messages"], fields]}, code, f"messages[1]{param}")


def call(code: str | None, param: str, **fields: object) -> Bad:
    """An assistant's message with one call."""
    return message(code, param, role="assistant", tool_calls=[fields])


def tool(code: str | None, param: str, **function: object) -> Bad:
    return field("tools", [{"type": "function", "function": function}], code, f"tools[0].function{param}")


def choice(code: str | None, param: str, value: object) -> Bad:
    return field("tool_choice", value, code, f"tool_choice{param}", tools=[TOOL])


def shape(code: str | None, param: str, value: object) -> Bad:
    return field("response_format", value, code, f"response_format{param}")


def schema(code: str | None, param: str, **fields: object) -> Bad:
    return shape(code, f".json_schema{param}", {"type": "json_schema", "json_schema": fields})


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def history(code: str | None, param: str, *messages: dict[str, Any]) -> Bad:
    return bad({"model": "m", "messages": list(messages)}, code, param)


USER = {"role": "user", "content": "x"}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": CALL["id"], "content": "r"}
LEGACY_CALL = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
DEEP = b"[" * 100_000

NO_JSON = [
    bad(b"", None, None),
    bad(b" \r\n\t", None, None),
    bad(b"{", None, None),
    bad(b"nonsense", None, None),
    bad(b"{'model': 'm'}", None, None),
    bad(json.dumps(GOOD).encode() + b" x", None, None),
    bad(json.dumps(GOOD).encode()[:-1], None, None),
    bad(json.dumps(GOOD).encode()[:-1] + b",}", None, None),
    bad(json.dumps(GOOD).encode("utf-16"), None, None),
    bad(b"\xff\xfe", None, None),
    bad(b'{"model": "\xff"}', None, None),
    raw(b'"user": "\xc3\x28"', None, None),
    raw(b'"user": "\xed\xa0\x80"', None, None),
    raw(b'"no_such_field": "\xff"', None, None),
    raw(b'"\xff": 1', None, None),
    raw(r'"user": "\ud800"', None, None),
    raw(r'"user": "\ud800 and more text after it"', None, None),
    raw(r'"user": "\udc00"', None, None),
    raw(r'"user": "\ud800\ud800"', None, None),
    raw(r'"no_such_field": "\udfff", "user": "u"', None, None),
    raw(r'"metadata": {"\ud800": "v"}', None, None),
    raw(r'"chat_template_kwargs": {"a": ["\udbff"]}', None, None),
    raw(r'"user": "\x41"', None, None),
    raw('"user": "a\nb"', None, None),
    raw(b'"user": "\x00"', None, None),
    raw('"temperature": NaN', None, None),
    raw('"temperature": Infinity', None, None),
    raw('"no_such_field": -Infinity', None, None),
    raw('"logit_bias": {"1": NaN}', None, None),
    raw('"n": 01', None, None),
    raw('"n": +1', None, None),
    raw('"n": .5', None, None),
    raw('"seed": 0x1', None, None),
    raw(b'"no_such_field": ' + DEEP + b"]" * 100_000, None, None),
    raw(b'"chat_template_kwargs": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_000, None, None),
]

BODIES = [
    bad([], "invalid_type", None),
    bad([GOOD], "invalid_type", None),
    bad(None, "invalid_type", None),
    bad("x", "invalid_type", None),
    bad(3, "invalid_type", None),
    bad({}, "missing_required_parameter", "model"),
    bad({"messages": GOOD["messages"]}, "missing_required_parameter", "model"),
    bad({"model": "m"}, "missing_required_parameter", "messages"),
    field("model", 1, "invalid_type"),
    field("model", None, "invalid_type"),
    field("model", "", "empty_string"),
    field("model", ["m"], "invalid_type"),
]

MESSAGES = [
    field("messages", [], "empty_array"),
    field("messages", None, "invalid_type"),
    field("messages", "x", "invalid_type"),
    field("messages", USER, "invalid_type"),
    field("messages", ["x"], "invalid_type", "messages[0]"),
    field("messages", [None], "invalid_type", "messages[0]"),
    field("messages", [[USER]], "invalid_type", "messages[0]"),
    field("messages", [USER] * 10_001, "array_above_max_length"),
    bad(b'{"model": "m", "messages": ' + DEEP, "invalid_type", "messages[0]"),
    field("messages", [{}], "missing_required_parameter", "messages[0].role"),
    message("missing_required_parameter", ".role", content="x"),
    message("invalid_value", ".role", role="foo", content="x"),
    message("invalid_value", ".role", role="", content="x"),
    message("invalid_value", ".role", role="User", content="x"),
    message("invalid_type", ".role", role=3, content="x"),
    message("invalid_type", ".role", role=None, content="x"),
    message("missing_required_parameter", ".content", role="user"),
    message("missing_required_parameter", ".content", role="system"),
    message("missing_required_parameter", ".content", role="developer", name="n"),
    message("invalid_type", ".content", role="user", content=3),
    message("invalid_type", ".content", role="user", content=None),
    message("invalid_type", ".content", role="system", content=None),
    message("invalid_type", ".content", role="user", content={"type": "text", "text": "x"}),
    message("invalid_type", ".name", role="user", content="x", name=3),
    message("empty_array", ".content", role="user", content=[]),
    message("invalid_type", ".content[0]", role="user", content=["x"]),
    message("missing_required_parameter", ".content[0].type", role="user", content=[{}]),
    message("missing_required_parameter", ".content[0].type", role="user", content=[{"text": "x"}]),
    message("invalid_type", ".content[0].type", role="user", content=[{"type": 1}]),
    message("invalid_value", ".content[0].type", role="user", content=[{"type": "x"}]),
    message("missing_required_parameter", ".content[0].text", role="user", content=[{"type": "text"}]),
    message("invalid_type", ".content[0].text", role="user", content=[{"type": "text", "text": None}]),
    message("invalid_type", ".content[0].text", role="user", content=[{"type": "text", "text": ["x"]}]),
    message("invalid_value", ".content[0].type", role="user", content=[{"type": "refusal", "refusal": "x"}]),
    message("missing_required_parameter", ".content[0].refusal", role="assistant", content=[{"type": "refusal"}]),
    *(
        message(
            "unsupported_value",
            ".content[1].type",
            role=role,
            content=[{"type": "text", "text": "x"}, {"type": kind, kind: {}}],
        )
        for role, kind in (("user", "image_url"), ("user", "input_audio"), ("user", "file"), ("system", "image_url"))
    ),
]

HISTORIES = [
    message("missing_required_parameter", ".content", role="assistant"),
    message("missing_required_parameter", ".content", role="assistant", content=None),
    message("invalid_type", ".content", role="assistant", content=1),
    message("invalid_type", ".refusal", role="assistant", refusal=1),
    message("unsupported_parameter", ".audio", role="assistant", content="x", audio={"id": "a"}),
    message("invalid_type", ".tool_calls", role="assistant", tool_calls="x"),
    message("empty_array", ".tool_calls", role="assistant", tool_calls=[]),
    message("array_above_max_length", ".tool_calls", role="assistant", tool_calls=[CALL] * 1025),
    call("missing_required_parameter", ".tool_calls[0].type"),
    call("missing_required_parameter", ".tool_calls[0].type", id="a", function=CALL["function"]),
    call("invalid_value", ".tool_calls[0].type", type="x"),
    call("unsupported_value", ".tool_calls[0].type", type="custom", id="a", custom={"name": "f", "input": "x"}),
    call("missing_required_parameter", ".tool_calls[0].id", type="function", function=CALL["function"]),
    call("invalid_type", ".tool_calls[0].id", type="function", id=1, function=CALL["function"]),
    call("empty_string", ".tool_calls[0].id", type="function", id="", function=CALL["function"]),
    call("missing_required_parameter", ".tool_calls[0].function", type="function", id="a"),
    call("missing_required_parameter", ".tool_calls[0].function.name", type="function", id="a", function={}),
    call(
        "missing_required_parameter",
        ".tool_calls[0].function.arguments",
        type="function",
        id="a",
        function={"name": "f"},
    ),
    *(
        call(code, ".tool_calls[0].function.arguments", type="function", id="a", function={"name": "f", "arguments": a})
        for code, a in (
            ("invalid_type", {}),
            ("invalid_type", None),
            ("arguments_not_json", "{"),
            ("arguments_not_json", "[]"),
            ("arguments_not_json", '"x"'),
            ("arguments_not_json", '{"a": NaN}'),
            ("arguments_not_json", '{"a": "\\ud800"}'),
            ("nested_too_deeply", "[" * 100_000),
            ("nested_too_deeply", json.dumps(nested(200))),
        )
    ),
    history("duplicate_parameter", "messages[0].tool_calls[1].id", {**CALLED, "tool_calls": [CALL, CALL]}, RESULT),
    history(None, "messages[0].tool_calls", CALLED),
    history(None, "messages[1].tool_calls", USER, CALLED, USER),
    history(None, "messages[0].tool_calls", {**CALLED, "tool_calls": [CALL, {**CALL, "id": "b"}]}, RESULT),
    history(None, "messages[1].tool_call_id", USER, RESULT),
    history(None, "messages[1].tool_call_id", CALLED, {**RESULT, "tool_call_id": "other"}),
    history(None, "messages[2].tool_call_id", CALLED, RESULT, RESULT),
    history(None, "messages[3].tool_call_id", CALLED, RESULT, USER, RESULT),
    history(None, "messages[0].function_call", LEGACY_CALL),
    history(None, "messages[0].name", {"role": "function", "name": "f", "content": "r"}),
    history(None, "messages[1].name", LEGACY_CALL, {"role": "function", "name": "g", "content": "r"}),
    message("missing_required_parameter", ".tool_call_id", role="tool", content="r"),
    message("missing_required_parameter", ".content", role="tool", tool_call_id="a"),
    message("empty_string", ".tool_call_id", role="tool", content="r", tool_call_id=""),
    message("invalid_type", ".content", role="tool", content=None, tool_call_id="a"),
    message("invalid_type", ".content", role="tool", content={"a": 1}, tool_call_id="a"),
    message("missing_required_parameter", ".name", role="function", content="r"),
    message("missing_required_parameter", ".function_call.arguments", role="assistant", function_call={"name": "f"}),
    message(
        "arguments_not_json",
        ".function_call.arguments",
        role="assistant",
        function_call={"name": "f", "arguments": "x"},
    ),
]

SAMPLING = [
    field("temperature", "1", "invalid_type"),
    field("temperature", True, "invalid_type"),
    field("temperature", [1], "invalid_type"),
    field("temperature", 2.1, "decimal_above_max_value"),
    field("temperature", -0.1, "decimal_below_min_value"),
    raw('"temperature": 1e999', "decimal_above_max_value", "temperature"),
    raw('"temperature": -1e999', "decimal_below_min_value", "temperature"),
    raw('"temperature": ' + "9" * 5000, "decimal_above_max_value", "temperature"),
    field("top_p", 1.1, "decimal_above_max_value"),
    field("top_p", -1, "decimal_below_min_value"),
    field("top_p", {}, "invalid_type"),
    field("presence_penalty", 3, "decimal_above_max_value"),
    field("presence_penalty", -2.01, "decimal_below_min_value"),
    field("frequency_penalty", -3, "decimal_below_min_value"),
    field("frequency_penalty", "0", "invalid_type"),
    field("seed", 2**63, "integer_above_max_value"),
    field("seed", -(2**63) - 1, "integer_below_min_value"),
    field("seed", "1", "invalid_type"),
    field("seed", 1.5, "invalid_type"),
    raw('"seed": ' + "9" * 5000, "number_out_of_range", "seed"),
    field("n", 0, "integer_below_min_value"),
    field("n", 129, "integer_above_max_value"),
    field("n", 1.5, "invalid_type"),
    field("n", True, "invalid_type"),
    field("max_tokens", 0, "integer_below_min_value"),
    field("max_tokens", 1.5, "invalid_type"),
    field("max_tokens", 10**30, "integer_above_max_value"),
    field("max_tokens", "10", "invalid_type"),
    field("max_completion_tokens", -1, "integer_below_min_value"),
    field("max_completion_tokens", 2**31, "integer_above_max_value"),
    field("max_tokens", 1, "invalid_parameter_combination", max_completion_tokens=1),
    field("stop", "", "empty_string"),
    field("stop", ["a", ""], "empty_string", "stop[1]"),
    field("stop", ["a"] * 5, "array_above_max_length"),
    field("stop", [1], "invalid_type", "stop[0]"),
    field("stop", [None], "invalid_type", "stop[0]"),
    field("stop", [["a"]], "invalid_type", "stop[0]"),
    field("stop", 1, "invalid_type"),
    field("stop", {}, "invalid_type"),
    field("logit_bias", [], "invalid_type"),
    field("logit_bias", "x", "invalid_type"),
    field("logit_bias", {"hello": 1}, None),
    field("logit_bias", {"1": 1, "-1": 1}, None),
    field("logit_bias", {"1.5": 1}, None),
    field("logit_bias", {"": 1}, None),
    field("logit_bias", {"__proto__": 1}, None),
    field("logit_bias", {str(2**31): 1}, None),
    field("logit_bias", {"9" * 5000: 1}, None),
    field("logit_bias", {"1": 0, "2": 101}, "decimal_above_max_value", "logit_bias.2"),
    field("logit_bias", {"2": -100.5}, "decimal_below_min_value", "logit_bias.2"),
    field("logit_bias", {"1": 0, "2": None}, "invalid_type", "logit_bias.2"),
    field("logprobs", 1, "invalid_type"),
    field("logprobs", "true", "invalid_type"),
    field("top_logprobs", 3, None),
    field("top_logprobs", 3, None, logprobs=False),
    field("top_logprobs", 21, "integer_above_max_value", logprobs=True),
    field("top_logprobs", -1, "integer_below_min_value", logprobs=True),
    field("top_logprobs", True, "invalid_type", logprobs=True),
]

SHAPES = [
    shape("invalid_type", "", "text"),
    shape("invalid_type", "", ["text"]),
    shape("missing_required_parameter", ".type", {}),
    shape("invalid_value", ".type", {"type": "xml"}),
    shape("invalid_type", ".type", {"type": None}),
    shape("missing_required_parameter", ".json_schema", {"type": "json_schema"}),
    shape("invalid_type", ".json_schema", {"type": "json_schema", "json_schema": "x"}),
    shape("invalid_type", ".schema", {"type": "json_object", "schema": []}),
    shape("invalid_json_schema", ".schema", {"type": "json_object", "schema": {"type": "array"}}),
    schema("missing_required_parameter", ".name", schema=SCHEMA),
    schema("empty_string", ".name", name="", schema=SCHEMA),
    schema("invalid_value", ".name", name="a b", schema=SCHEMA),
    schema("invalid_value", ".name", name="星", schema=SCHEMA),
    schema("invalid_value", ".name", name="a\n", schema=SCHEMA),
    schema("string_above_max_length", ".name", name="a" * 65, schema=SCHEMA),
    schema("invalid_type", ".strict", name="a", schema=SCHEMA, strict="yes"),
    schema("invalid_type", ".description", name="a", schema=SCHEMA, description=1),
    schema("invalid_type", ".schema", name="a", schema=True),
    schema("invalid_type", ".schema", name="a", schema="{}"),
    schema("invalid_json_schema", ".schema", name="a", schema={}),
    schema("invalid_json_schema", ".schema", name="a", schema={"type": "array"}),
    schema("invalid_json_schema", ".schema", name="a", schema={"type": ["object", "null"]}),
    schema("invalid_json_schema", ".schema", name="a", schema={"anyOf": [SCHEMA]}),
    schema("nested_too_deeply", ".schema", name="a", schema={"type": "object", "properties": nested(200)}),
    schema("number_out_of_range", ".schema", name="a", schema={"type": "object", "maxProperties": 2**64}),
]

TOOLS = [
    field("tools", "x", "invalid_type"),
    field("tools", [], "empty_array"),
    field("tools", TOOL, "invalid_type"),
    field("tools", [3], "invalid_type", "tools[0]"),
    field("tools", [{}], "missing_required_parameter", "tools[0].type"),
    field("tools", [{"type": None}], "invalid_type", "tools[0].type"),
    field("tools", [{"type": "web_search"}], "invalid_value", "tools[0].type"),
    field("tools", [TOOL, {"type": "custom", "custom": {"name": "c"}}], "unsupported_value", "tools[1].type"),
    field("tools", [{"type": "function"}], "missing_required_parameter", "tools[0].function"),
    field("tools", [{"type": "function", "function": "f"}], "invalid_type", "tools[0].function"),
    field("tools", [TOOL, TOOL], "duplicate_parameter", "tools[1].function.name"),
    field("tools", [TOOL] * 129, "array_above_max_length"),
    tool("missing_required_parameter", ".name"),
    tool("invalid_type", ".name", name=None),
    tool("empty_string", ".name", name=""),
    tool("invalid_value", ".name", name="get weather"),
    tool("invalid_value", ".name", name="a.b"),
    tool("invalid_value", ".name", name="f\n"),
    tool("string_above_max_length", ".name", name="f" * 65),
    tool("invalid_type", ".description", name="f", description=3),
    tool("invalid_type", ".strict", name="f", strict=1),
    tool("invalid_type", ".parameters", name="f", parameters=[]),
    tool("invalid_type", ".parameters", name="f", parameters="{}"),
    tool("invalid_function_parameters", ".parameters", name="f", parameters={"type": "string"}),
    tool("invalid_function_parameters", ".parameters", name="f", parameters={"oneOf": []}),
    tool("nested_too_deeply", ".parameters", name="f", parameters={"type": "object", "properties": nested(200)}),
    tool("number_out_of_range", ".parameters", name="f", parameters={"type": "object", "x": -(2**64)}),
    field("tool_choice", "auto", None),
    field("tool_choice", "none", None),
    field("parallel_tool_calls", True, None),
    field("parallel_tool_calls", 1, "invalid_type", tools=[TOOL]),
    choice("invalid_type", "", 3),
    choice("invalid_type", "", ["auto"]),
    choice("invalid_value", "", "any"),
    choice("invalid_value", "", ""),
    choice("missing_required_parameter", ".type", {}),
    choice("missing_required_parameter", ".type", {"function": {"name": "f"}}),
    choice("invalid_value", ".type", {"type": "x"}),
    choice("invalid_type", ".type", {"type": 3}),
    choice("missing_required_parameter", ".function", {"type": "function"}),
    choice("missing_required_parameter", ".function.name", {"type": "function", "function": {}}),
    choice("invalid_value", ".function.name", {"type": "function", "function": {"name": "f g"}}),
    choice(None, "", {"type": "function", "function": {"name": "other"}}),
    choice("unsupported_value", ".type", {"type": "custom", "custom": {"name": "f"}}),
    choice("missing_required_parameter", ".allowed_tools", {"type": "allowed_tools"}),
    choice(
        "invalid_value",
        ".allowed_tools.mode",
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
    ),
    choice(
        "empty_array", ".allowed_tools.tools", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    ),
    choice(
        None,
        "",
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "other"}}]},
        },
    ),
    field("functions", [], "empty_array"),
    field("functions", [{}], "missing_required_parameter", "functions[0].name"),
    field("functions", [FUNCTION, FUNCTION], "duplicate_parameter", "functions[1].name"),
    field(
        "functions",
        [{"name": "f", "parameters": {"type": "array"}}],
        "invalid_function_parameters",
        "functions[0].parameters",
    ),
    field("functions", [FUNCTION], "invalid_parameter_combination", tools=[TOOL]),
    field("function_call", "auto", None),
    field("function_call", "required", "invalid_value", functions=[FUNCTION]),
    field("function_call", {}, "missing_required_parameter", "function_call.name", functions=[FUNCTION]),
    field("function_call", {"name": "other"}, None, functions=[FUNCTION]),
]

OTHERS = [
    field("stream", 1, "invalid_type"),
    field("stream", "true", "invalid_type"),
    field("stream_options", {}, None),
    field("stream_options", {"include_usage": True}, None, stream=False),
    field("stream_options", 1, "invalid_type", stream=True),
    field("stream_options", {"include_usage": 1}, "invalid_type", "stream_options.include_usage", stream=True),
    field(
        "stream_options",
        {"include_obfuscation": "x"},
        "invalid_type",
        "stream_options.include_obfuscation",
        stream=True,
    ),
    field("reasoning_effort", "huge", "invalid_value"),
    field("reasoning_effort", 3, "invalid_type"),
    field("verbosity", "x", "invalid_value"),
    field("verbosity", {}, "invalid_type"),
    field("language", "fr", "invalid_value"),
    field("language", "", "invalid_value"),
    field("language", ["ja"], "invalid_type"),
    field("verbosity", "x' - at `$.model`", "invalid_value"),
    field("verbosity", " - at `key` in `$.logit_bias`", "invalid_value"),
    field("modalities", "text", "invalid_type"),
    field("modalities", [], "unsupported_value"),
    field("modalities", ["text", "audio"], "unsupported_value"),
    field("modalities", [1], "invalid_type", "modalities[0]"),
    field("audio", {"voice": "alloy", "format": "mp3"}, "unsupported_parameter"),
    field("web_search_options", {}, "unsupported_parameter"),
    field("moderation", {"model": "omni-moderation-latest"}, "unsupported_parameter"),
    field("prediction", "x", "invalid_type"),
    field("prediction", {"content": "x"}, "missing_required_parameter", "prediction.type"),
    field("prediction", {"type": "x", "content": "x"}, "invalid_value", "prediction.type"),
    field("prediction", {"type": "content"}, "missing_required_parameter", "prediction.content"),
    field(
        "prediction", {"type": "content", "content": [{"type": "file"}]}, "invalid_value", "prediction.content[0].type"
    ),
    field("metadata", "x", "invalid_type"),
    field("metadata", {"a": 1}, "invalid_type", "metadata.a"),
    field("metadata", {"a": "b", "response_format": {}}, "invalid_type", "metadata.response_format"),
    field("metadata", {"a": None}, "invalid_type", "metadata.a"),
    field("metadata", {"a b": 1}, "invalid_type", "metadata[...]"),
    field("metadata", {"a": "b" * 513}, "string_above_max_length", "metadata.a"),
    field("metadata", {"k" * 65: "b"}, "string_above_max_length"),
    field("metadata", {str(i): "b" for i in range(17)}, "object_above_max_properties"),
    field("store", "x", "invalid_type"),
    field("service_tier", "gold", "invalid_value"),
    field("user", 1, "invalid_type"),
    field("safety_identifier", [], "invalid_type"),
    field("prompt_cache_key", 1, "invalid_type"),
    field("prompt_cache_retention", "1h", "invalid_value"),
    field("prompt_cache_options", "x", "invalid_type"),
    field("prompt_cache_options", {"mode": "x"}, "invalid_value", "prompt_cache_options.mode"),
]

EXTENSIONS = [
    field("top_k", -2, "integer_below_min_value"),
    field("top_k", 1.0, "invalid_type"),
    field("min_p", 2, "decimal_above_max_value"),
    field("typical_p", -1, "decimal_below_min_value"),
    field("top_n_sigma", -2, "decimal_below_min_value"),
    field("repeat_penalty", 0, "decimal_below_min_value"),
    field("repetition_penalty", 101, "decimal_above_max_value"),
    field("repetition_penalty", 1.1, "invalid_parameter_combination", repeat_penalty=1.1),
    field("repeat_last_n", -2, "integer_below_min_value"),
    field("dry_multiplier", "x", "invalid_type"),
    field("dry_allowed_length", -1, "integer_below_min_value"),
    field("dry_sequence_breakers", "x", "invalid_type"),
    field("dry_sequence_breakers", [""], "empty_string", "dry_sequence_breakers[0]"),
    field("dry_sequence_breakers", ["x"] * 65, "array_above_max_length"),
    field("xtc_probability", 1.5, "decimal_above_max_value"),
    field("mirostat", 3, "integer_above_max_value"),
    field("mirostat_tau", -1, "decimal_below_min_value"),
    field("dynatemp_range", 3, "decimal_above_max_value"),
    field("ignore_eos", 1, "invalid_type"),
    field("min_tokens", -1, "integer_below_min_value"),
    field("grammar", "", "empty_string"),
    field("grammar", 1, "invalid_type"),
    field("grammar", "\0", "invalid_value"),
    field("grammar", 'root ::= "a" # \0', "invalid_value"),
    field("grammar", " " * 65_537, "string_above_max_length"),
    field("grammar", "root ::= [a]", "invalid_parameter_combination", json_schema=SCHEMA),
    field("grammar", "root ::= [a]", "invalid_parameter_combination", response_format={"type": "json_object"}),
    field("grammar", "root ::= [a]", "invalid_parameter_combination", tools=[TOOL]),
    field("ignore_eos", True, "invalid_parameter_combination", response_format={"type": "json_object"}),
    field("min_tokens", 3, "invalid_parameter_combination", tools=[TOOL], tool_choice="auto"),
    field("json_schema", [], "invalid_type"),
    field("json_schema", nested(200), "nested_too_deeply"),
    field("chat_template_kwargs", [], "invalid_type"),
    field("chat_template_kwargs", nested(200), "nested_too_deeply"),
    field("chat_template_kwargs", {"a": [2**64]}, "number_out_of_range"),
    *(
        field("chat_template_kwargs", {name: value}, "unsupported_parameter", f"chat_template_kwargs.{name}")
        for name, value in (
            ("messages", [USER]),
            ("tools", []),
            ("add_generation_prompt", False),
            ("bos_token", ""),
            ("eos_token", None),
        )
    ),
    raw('"chat_template_kwargs": {"a": 1e999}', "decimal_above_max_value", "chat_template_kwargs.a"),
    field("reasoning_format", "x", "invalid_value"),
    field("thinking_budget_tokens", -2, "integer_below_min_value"),
    field("return_progress", 1, "invalid_type"),
    field("return_progress", True, None),
    field("timings_per_token", "x", "invalid_type"),
    field("cache_prompt", "x", "invalid_type"),
]


def twice(name: str, first: str, second: str, param: str | None = None) -> Bad:
    """A key with two values of which the first is bad: no message takes one for the other."""
    values = {"model": '"m"', "messages": '[{"role": "user", "content": "x"}]'}
    values.pop(name, None)
    rest = "".join(f', "{other}": {value}' for other, value in values.items())
    return bad(f'{{"{name}": {first}, "{name}": {second}{rest}}}'.encode(), "duplicate_parameter", param or name)


TWICE = [
    twice("model", "1", '"m"'),
    twice("model", '""', '"m"'),
    twice("temperature", "9", "1"),
    twice("temperature", "9", "null"),
    twice("temperature", '"x"', "1"),
    twice("temperature", "1e999", "1"),
    twice("max_tokens", "0", "true"),
    twice("max_tokens", "9" * 5000, "1"),
    twice("stop", '["a","a","a","a","a"]', "1"),
    twice("stop", '["a","a","a","a","a"]', '["a"]'),
    twice("messages", "[]", '[{"role": "user", "content": "x"}]'),
    twice("messages", "[]", "null"),
    twice("verbosity", '"x"', '"low"'),
    twice("logit_bias", '{"x": 1}', '{"1": 1}'),
    twice(
        "tools", '[{"type": "function", "function": {"name": ""}}]', f"[{json.dumps(TOOL)}]", "tools[0].function.name"
    ),
    twice(
        "tools",
        '[{"type": "function", "function": {"name": "a b"}}]',
        f"[{json.dumps(TOOL)}]",
        "tools[0].function.name",
    ),
    bad(
        b'{"model": "m", "messages": [{"role": "x", "role": "user", "content": "x"}]}',
        "duplicate_parameter",
        "messages[0].role",
    ),
]

# Several things are wrong: the first one in the body is told.
FIRST = [
    field("temperature", 9, "decimal_above_max_value", top_p=0, n=1, stop=["a"]),
    bad(b'{"temperature": 9, "n": 0}', "decimal_above_max_value", "temperature"),
    bad(b'{"n": 0, "temperature": 9}', "integer_below_min_value", "n"),
    bad(b'{"n": 0, "model"', "integer_below_min_value", "n"),
    bad({**GOOD, "messages": [{"role": "x"}, {"role": 1}]}, "invalid_value", "messages[0].role"),
    bad({"metadata": {"a": "b", "c": 1, "d": 2}}, "invalid_type", "metadata.c"),
]

BAD = [
    *(*NO_JSON, *BODIES, *MESSAGES, *HISTORIES, *SAMPLING, *SHAPES, *TOOLS, *OTHERS, *EXTENSIONS, *TWICE, *FIRST),
]
