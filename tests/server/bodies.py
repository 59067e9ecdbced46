"""Bodies of chat requests: good ones, and good ones gone bad."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from hoshikage_server.api.schema import ChatRequest

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
FUNCTION: dict[str, Any] = {
    "name": "f",
    "description": "A function.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"enum": [1, None]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "strict": True,
}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}
CUSTOM: dict[str, Any] = {
    "name": "c",
    "description": "A custom tool.",
    "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]+"}},
}
CUSTOM_TOOL: dict[str, Any] = {"type": "custom", "custom": CUSTOM}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "x"}'}}

_TEXT = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
_SHAPE = {
    "type": "json_schema",
    "json_schema": {"name": "s", "description": "d", "schema": FUNCTION["parameters"], "strict": True},
}
_CHOICE = {"type": "function", "function": {"name": "f"}}
_CUSTOM_CHOICE = {"type": "custom", "custom": {"name": "c"}}
_CUSTOM_CALL = {"id": "call_3", "type": "custom", "custom": {"name": "c", "input": "x"}}
# What no request can have together stands in different bodies.
_COMMON: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "developer", "content": [_TEXT]},
        {"role": "user", "content": [_TEXT, _TEXT], "name": "n"},
        {
            "role": "assistant",
            "content": "a",
            "refusal": None,
            "tool_calls": [CALL, {**CALL, "id": "call_2"}, _CUSTOM_CALL],
        },
        {"role": "tool", "content": "r", "tool_call_id": "call_3"},
        {"role": "tool", "content": [_TEXT], "tool_call_id": "call_2"},
        {"role": "tool", "content": "r", "tool_call_id": "call_1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "reasoning_content": "t"},
        {"role": "assistant", "refusal": "no"},
        {"role": "user", "content": "echo one two"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "stop": ["a", "b"],
    "n": 1,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {"1": -100, "20": 1.5},
    "max_completion_tokens": 16,
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text"],
    "prediction": {"type": "content", "content": [_TEXT]},
    "metadata": {"a": "b", "c": "d"},
    "store": True,
    "user": "u",
    "safety_identifier": "s",
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    # Extensions
    "top_k": 40,
    "min_p": 0.05,
    "typical_p": 0.9,
    "top_n_sigma": 1.0,
    "repeat_penalty": 1.1,
    "repeat_last_n": 64,
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": -1,
    "dry_sequence_breakers": ["\n", ":"],
    "xtc_probability": 0.1,
    "xtc_threshold": 0.1,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "dynatemp_range": 0.5,
    "dynatemp_exponent": 1.0,
    "cache_prompt": True,
    "return_progress": True,
    "timings_per_token": True,
    "reasoning_format": "auto",
    "thinking_budget_tokens": 8,
    "language": "ja",
    "chat_template_kwargs": {"enable_thinking": False, "a": [1, {"b": None}]},
    "no_such_field": {"a": [1, None]},
}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {
        "tools": [TOOL, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": _CHOICE,
        "parallel_tool_calls": True,
    },
    {
        "tools": [TOOL],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [_CHOICE]}},
        "response_format": _SHAPE,
    },
    {"tools": [TOOL, CUSTOM_TOOL], "tool_choice": _CUSTOM_CHOICE},
    {
        "functions": [FUNCTION],
        "function_call": {"name": "f"},
        "stream": False,
        "stream_options": None,
        "return_progress": None,
    },
    {"response_format": _SHAPE},
    {"response_format": {"type": "json_object", "schema": {"type": "object"}}, "n": 2},
    {"json_schema": {"type": "array", "items": {"type": "integer"}}},
    {"grammar": "root ::= [ab]+", "ignore_eos": False, "min_tokens": 0},
    {
        "ignore_eos": True,
        "min_tokens": 2,
        "repeat_penalty": None,
        "repetition_penalty": 1.2,
        "response_format": {"type": "text"},
    },
    {
        "max_completion_tokens": None,
        "max_tokens": 16,
        "tools": [TOOL],
        "tool_choice": "none",
        "grammar": "root ::= [a]",
    },
)
FULL: tuple[dict[str, Any], ...] = tuple({**_COMMON, **variant} for variant in _VARIANTS)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just({}) | st.just([]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)

_WORDS = ("none", "auto", "required", "function", "custom", "text", "json_object", "low", "f", "call_1", "user", "tool")
_ALIKE: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-3, 3) | st.integers(),
    float: st.floats(-3, 3) | st.floats(allow_nan=False, allow_infinity=False),
    str: st.sampled_from(_WORDS) | st.text(max_size=6) | st.text(max_size=6).map(lambda text: f"echo {text}"),
}


@st.composite
def mutated(
    draw: st.DrawFn, bodies: Sequence[Any] = FULL, fields: Sequence[str] = ChatRequest.__struct_fields__
) -> bytes:
    """A valid body in which some values, anywhere, are replaced, removed or joined by others.

    Args:
        draw: Hypothesis's.
        bodies: Valid ones.
        fields: Names that may be added.
    """
    body: Any = json.loads(json.dumps(draw(st.sampled_from(bodies))))
    for _ in range(draw(st.integers(1, 4))):
        place = body
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and draw(st.booleans()):
                place = place[key]
                continue
            _mutate(draw, place, key, fields)
            break
    data = json.dumps(body).encode()
    if draw(st.integers(0, 9)) == 0:
        position = draw(st.integers(0, len(data)))
        data = data[:position] + draw(st.binary(max_size=4)) + data[position + draw(st.integers(0, 3)) :]
    return data


def _mutate(draw: st.DrawFn, place: Any, key: Any, fields: Sequence[str]) -> None:
    how = draw(st.sampled_from(("replace", "remove", "add", "double", "shift", "shift", "shift")))
    if how == "remove":
        del place[key]
    elif how == "add" and isinstance(place, dict):
        place[draw(st.sampled_from((*fields, "type", "role")) | st.text(max_size=6))] = draw(values)
    elif how == "double" and isinstance(place, list):
        place.insert(key, place[key])
    elif how == "shift" and type(place[key]) in _ALIKE:
        place[key] = draw(_ALIKE[type(place[key])])
    else:
        place[key] = draw(values)
