"""What of a request for a response cannot be, and what becomes of each field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from api_client import Api
from bodies import mutated
from hypothesis import HealthCheck, given, settings
from openai.types.responses import ToolParam
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase, ResponseCreateParamsStreaming
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from responses_api import FUNCTION, error_of, post, said

from hoshikage_server.api.responses.schema import ResponseRequest

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "responses.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)`(?:, `([\w.]+)`)* \| \S", re.MULTILINE)

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
CUSTOM: dict[str, Any] = {"type": "custom", "name": "g"}
SEARCH_CALL = {"type": "tool_search_call", "call_id": "s", "arguments": {"query": "x"}, "execution": "client"}
SEARCH_OUTPUT = {"type": "tool_search_output", "call_id": "s", "tools": [FUNCTION], "execution": "client"}

BAD: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": []}, "empty_array", "input"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": [5]}, "invalid_type", "input[0]"),
    ({"input": [None]}, "invalid_type", "input[0]"),
    ({"input": [{}]}, "missing_required_parameter", "input[0].type"),
    ({"input": [{"type": "what"}]}, "invalid_value", "input[0].type"),
    ({"input": [{"type": 5}]}, "invalid_value", "input[0].type"),
    ({"input": [{"type": {}}]}, "invalid_value", "input[0].type"),
    ({"input": [{"type": "web_search_call"}]}, "unsupported_value", "input[0].type"),
    ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "input[0].id"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
    ({"input": [said("critic", "x")]}, "invalid_value", "input[0].role"),
    ({"input": [said("user", "x"), {"role": "user", "content": 5}]}, "invalid_type", "input[1].content"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "invalid_value",
     "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]}, "unsupported_value",
     "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "missing_required_parameter",
     "input[0].content[0].text"),
    ({"input": [OUTPUT]}, "output_without_call", "input[0].call_id"),
    ({"input": [OUTPUT, CALL]}, "output_without_call", "input[0].call_id"),
    ({"input": [said("user", "x"), CALL]}, "call_without_output", "input[1].call_id"),
    ({"input": [CALL, CALL, OUTPUT]}, "duplicate_parameter", "input[1].call_id"),
    ({"input": [{**CALL, "arguments": "{"}, OUTPUT]}, "arguments_not_json", "input[0].arguments"),
    ({"input": [{**CALL, "arguments": "[]"}, OUTPUT]}, "arguments_not_json", "input[0].arguments"),
    ({"input": [CALL, {**OUTPUT, "output": [{"type": "input_file"}]}]}, "unsupported_value", "input[1].output[0].type"),
    ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}]}, "invalid_encrypted_content",
     "input[0].encrypted_content"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":' * 980 + "1" + "}" * 980},
                {"type": "function_call_output", "call_id": "c", "output": "x"}]}, "nested_too_deeply",
     "input[0].arguments"),
    ({"model": ""}, "empty_string", "model"),
    ({"model": 5}, "invalid_type", "model"),
    ({"temperature": 3}, "decimal_above_max_value", "temperature"),
    ({"top_p": -1}, "decimal_below_min_value", "top_p"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
    ({"top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
    ({"metadata": {"a": 5}}, "invalid_type", "metadata.a"),
    ({"stream_options": {}}, None, "stream_options"),
    ({"include": ["everything"]}, "invalid_value", "include[0]"),
    ({"truncation": "some"}, "invalid_value", "truncation"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "missing_required_parameter", "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "invalid_value", "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "array"}}}}, "invalid_json_schema",
     "text.format.schema"),
    ({"chat_template_kwargs": {"messages": []}}, "unsupported_parameter", "chat_template_kwargs.messages"),
    ({"grammar": "root ::= [a]\0"}, "invalid_value", "grammar"),
    ({"grammar": "#" * 65_537}, "string_above_max_length", "grammar"),
    ({"text": {"format": {"type": "json_object"}}, "grammar": "root ::= [a]"}, "invalid_parameter_combination",
     "grammar"),
    ({"text": {"format": {"type": "json_object"}}, "json_schema": {}}, "invalid_parameter_combination", "json_schema"),
    ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
    ({"tools": [{"type": "what"}]}, "invalid_value", "tools[0].type"),
    ({"tools": [{"type": "what"}, FUNCTION]}, "invalid_value", "tools[0].type"),
    ({"tools": [{"name": "f"}]}, "missing_required_parameter", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "missing_required_parameter", "tools[0].name"),
    ({"tools": [{**FUNCTION, "name": "a b"}]}, "invalid_value", "tools[0].name"),
    ({"tools": [{**FUNCTION, "parameters": {"type": "array"}}]}, "invalid_function_parameters", "tools[0].parameters"),
    ({"tools": [{**FUNCTION, "parameters": {"type": "object", "x": -(2**64)}}]}, "number_out_of_range",
     "tools[0].parameters"),
    ({"tools": [FUNCTION, FUNCTION]}, "duplicate_parameter", "tools[1].name"),
    ({"tools": [{**CUSTOM, "format": {"type": "grammar", "syntax": "bnf", "definition": "x"}}]}, "invalid_value",
     "tools[0].format.syntax"),
    ({"tools": [{**CUSTOM, "format": {"type": "grammar", "syntax": "lark", "definition": "start: start"}}]},
     "invalid_grammar", "tools[0].format"),
    ({"tools": [{"type": "tool_search"}]}, "unsupported_value", "tools[0].type"),
    ({"tools": [FUNCTION, {"type": "local_shell"}]}, "unsupported_value", "tools[1].type"),
    ({"tools": [{"type": "tool_search", "execution": "client", "parameters": {"type": "array"}}]},
     "invalid_function_parameters", "tools[0].parameters"),
    ({"input": [{"type": "additional_tools", "role": "user", "tools": []}]}, "invalid_value", "input[0].role"),
    ({"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}]},
     "unsupported_value", "input[0].tools[0].type"),
    ({"input": [{"type": "additional_tools", "role": "developer", "tools": [FUNCTION, {"type": "what"}]}]},
     "invalid_value", "input[0].tools[1].type"),
    ({"input": [{"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}]}, "missing_required_parameter",
     "input"),
    ({"input": [SEARCH_CALL]}, "call_without_output", "input[0].call_id"),
    ({"input": [SEARCH_OUTPUT]}, "output_without_call", "input[0].call_id"),
    ({"input": [{**SEARCH_CALL, "execution": "server"}]}, "invalid_value", "input[0].execution"),
    ({"input": [{**SEARCH_CALL, "arguments": "x"}]}, "invalid_type", "input[0].arguments"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{**FUNCTION, "name": f"f{i}"} for i in range(1025)]}]},
     "array_above_max_length", "tools[0].tools"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "namespace"}]}]}, "invalid_value",
     "tools[0].tools[0].type"),
    ({"tool_choice": "required"}, None, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "web_search_preview"}}, "invalid_value", "tool_choice.type"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, None, "tool_choice"),
    ({"tools": [CUSTOM], "tool_choice": {"type": "function", "name": "g"}}, None, "tool_choice"),
    ({"background": True}, "unsupported_parameter", "background"),
    ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "unsupported_parameter", "context_management"),
    ({"moderation": {"model": "m"}}, "unsupported_parameter", "moderation"),
    ({"previous_response_id": "resp_no"}, "previous_response_not_found", "previous_response_id"),
    ({"n": 2}, "unsupported_value", "n"),
    ({"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "No."}]}]}, "invalid_value",
     "input[0].content[0].type"),
    ({"input": [CALL, {**OUTPUT, "output": [{"type": "refusal", "refusal": "No."}]}]}, "invalid_value",
     "input[1].output[0].type"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "code", "param"), BAD, ids=[json.dumps(fields)[:60] for fields, _, _ in BAD])
def test_bad_requests(api: Api, fields: dict[str, Any], code: str | None, param: str | None) -> None:
    """400, naming the field, before any model is asked."""
    assert error_of(post(api, {"model": "m", "input": "echo x", **fields}), 400) == (code, param)


def test_the_kinds_of_a_format(api: Api) -> None:
    """Those of texts are named, not those of custom tools."""
    result = post(api, {"model": "m", "input": "x", "text": {"format": {"type": "xml"}}})
    assert "'text', 'json_object', 'json_schema'" in result.json["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"input": ' + b"[" * 100_000])
def test_bodies_that_are_no_requests(api: Api, body: bytes) -> None:
    """400 as well."""
    error_of(post(api, body), 400)


def test_every_field_has_its_row() -> None:
    """docs/responses.md says of each field of OpenAI's, and of each of ours, what becomes of it."""
    rows = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in DOCUMENT.splitlines() if line[:1] == "|"))
    )
    fields = {*ResponseCreateParamsBase.__annotations__, *ResponseCreateParamsStreaming.__annotations__}
    fields |= {*InputTokenCountParams.__annotations__, *ResponseRequest.__struct_fields__}
    assert fields <= rows, fields - rows


def kinds_of(union: Any) -> set[str]:
    """The values of `type` in a union of OpenAI's."""
    kinds = set()
    for variant in union.__args__:
        kinds |= set(re.findall(r"'(\w+)'", str(variant.__annotations__.get("type"))))
    return kinds


@pytest.mark.parametrize("place", ["input", "tools"])
def test_every_kind_is_known(api: Api, place: str) -> None:
    """OpenAI's items and tools are all had, left out, or refused as what they are: none is taken for a typing error."""
    kinds = kinds_of(ResponseInputItemParam if place == "input" else ToolParam)
    assert len(kinds) > 10
    for kind in kinds:
        result = post(api, {"model": "m", "input": "echo x", place: [{"type": kind}]})
        assert error_of(result, 400)[0] in ("unsupported_value", "missing_required_parameter"), kind


FULL: dict[str, Any] = {
    **dict.fromkeys(ResponseRequest.__struct_fields__),
    "model": "m",
    "input": [
        said("developer", "x"),
        {"role": "user", "content": [{"type": "input_text", "text": "echo"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}]},
        CALL,
        OUTPUT,
        SEARCH_CALL,
        SEARCH_OUTPUT,
        {"type": "additional_tools", "role": "developer", "tools": [{**FUNCTION, "name": "h"}]},
        said("user", "echo x"),
    ],
    "stream": False,
    "tools": [
        FUNCTION,
        CUSTOM,
        {"type": "web_search"},
        {"type": "namespace", "name": "n", "tools": [CUSTOM]},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    "reasoning": {"effort": "low", "summary": None},
    "include": ["reasoning.encrypted_content"],
}


@given(mutated((FULL,), ResponseRequest.__struct_fields__))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_mutated_bodies_never_break_the_server(api: Api, body: bytes) -> None:
    """An answer or OpenAI's error with a 4xx, always."""
    result = post(api, body)
    if result.status_code != 200:
        assert 400 <= result.status_code < 500, result.text
        error_of(result, result.status_code)
    elif not result.text.startswith("event: "):
        assert msgspec.json.decode(result.content)["object"] == "response"
