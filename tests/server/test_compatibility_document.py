"""docs/compatibility.md knows every field of openai-python's types, and tells the truth about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typing_extensions
from api_client import Api
from bodies import CUSTOM_TOOL, FULL, GOOD, TOOL
from openai.types import Completion, CreateEmbeddingResponse, Model, completion_create_params, embedding_create_params
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import Response, response_create_params, response_input_item_param, tool_param
from sdk_fields import fields_of

from hoshikage_server.api.schema import ChatRequest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
REQUEST_STATES = {"honoured", "accepted", "refused"}
RESPONSE_STATES = {"sent", "constant", "absent"}
SHARED = {"refused", "accepted", "constant", "absent"}  # by what lies below


def tables() -> dict[str, dict[str, str]]:
    """The state of each field, by section; fails where a row is not of the form."""
    found: dict[str, dict[str, str]] = {}
    section, header = "", ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section, header = line[3:], ""
        elif not line.startswith("|"):
            header = ""
        elif not header:
            header = line
        elif header == "| field | state | notes |" and not line.startswith("|---"):
            match = re.fullmatch(r"\| (`[^`]+`(?:, `[^`]+`)*) \| (\w+) \| (?:(.+) )?\|", line)
            assert match, line
            states = RESPONSE_STATES if section.endswith(("response", "chunks")) else REQUEST_STATES
            assert match[2] in states, line
            assert match[3] or match[2] in ("honoured", "sent"), f"{line}: say why"
            for name in re.findall(r"`([^`]+)`", match[1]):
                assert name not in found.setdefault(section, {}), f"{section}: {name} twice"
                found[section][name] = match[2]
    return found


TABLES = tables()


def _types_of(union: Any) -> Iterator[str]:
    """The values of `type` among a union's members."""
    for member in get_args(union):
        kind = typing_extensions.get_type_hints(member)["type"]
        for literal in (kind, *get_args(kind)):
            if get_origin(literal) is typing_extensions.Literal:
                yield from get_args(literal)


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
# What an item or a tool of a response has of fields follows from its type.
SDK: dict[str, list[str]] = {
    "Chat completions: request": list(
        fields_of(
            chat_params.CompletionCreateParams, ("tool_choice.allowed_tools.tools", "tools[].function.parameters")
        )
    ),
    "Chat completions: response": list(fields_of(ChatCompletion)),
    "Chat completions: chunks": list(fields_of(ChatCompletionChunk)),
    "Completions: request": list(fields_of(completion_create_params.CompletionCreateParams)),
    "Completions: response": list(fields_of(Completion)),
    "Embeddings: request": list(fields_of(embedding_create_params.EmbeddingCreateParams)),
    "Embeddings: response": list(fields_of(CreateEmbeddingResponse)),
    "Responses: request": list(fields_of(response_create_params.ResponseCreateParams, ("input", "tools"))),
    "Responses: items of the input": sorted({*_types_of(response_input_item_param.ResponseInputItemParam)}),
    "Responses: tools": sorted({*_types_of(tool_param.ToolParam)}),
    "Responses: response": list(
        fields_of(
            Response,
            (
                *("instructions", "output", "tools", "tool_choice", "text.format", "prompt", "metadata"),
                *("error.misalignment", "usage.input_tokens_details", "usage.output_tokens_details"),
            ),
        )
    ),
    "Models: response": list(fields_of(Model)),
}


def parents(path: str) -> Iterator[str]:
    """`a[].b.c` is below `a[].b` and `a`."""
    while "." in path:
        path = path.rpartition(".")[0].removesuffix("[]")
        yield path


@pytest.mark.parametrize("section", SDK)
def test_every_field_of_the_sdk_has_a_state(section: str) -> None:
    """In its own row, or below one whose state it shares; and no row is of no field."""
    table = TABLES[section]
    for path in SDK[section]:
        fate = next((table[parent] for parent in parents(path) if table.get(parent) in SHARED), None)
        assert path in table or fate, f"{section}: {path}"
    stale = set(table) - set(SDK[section])
    assert not stale, f"{section}: {stale}"


def test_extensions_are_the_requests_other_fields() -> None:
    """None is missing, none too many."""
    known = {path for path in SDK["Chat completions: request"] if "." not in path}
    assert set(TABLES["Chat completions: extensions"]) == set(ChatRequest.__struct_fields__) - known


def _paths_in(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if inner is not None:
                yield f"{path}.{name}".lstrip(".")
                yield from _paths_in(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths_in(inner, f"{path}[]")


@pytest.mark.parametrize("section", ["Chat completions: request", "Chat completions: extensions"])
def test_what_is_honoured_or_accepted_is_answered(section: str) -> None:
    """Each occurs in a body that test_bad_requests sees answered with 200."""
    sent = {path for body in FULL for path in _paths_in(body)}
    missing = {path for path, state in TABLES[section].items() if state != "refused"} - sent
    assert not missing


def part(kind: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": [{"type": kind, kind: {"url": "data:,x", "data": "", "file_id": "f"}}]}
        ]
    }


PART = "messages[0].content[0].type"
REFUSED: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
    CHAT: {
        "messages[].content[].image_url": (part("image_url"), PART),
        "messages[].content[].input_audio": (part("input_audio"), PART),
        "messages[].content[].file": (part("file"), PART),
        "messages[].audio": (
            {"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]},
            "messages[0].audio",
        ),
        "audio": ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        "moderation": ({"moderation": {"model": "m"}}, "moderation"),
        "web_search_options": ({"web_search_options": {}}, "web_search_options"),
    },
    RESPONSES: {
        "background": ({"background": True}, "background"),
        "conversation": ({"conversation": "c"}, "conversation"),
        "prompt": ({"prompt": {"id": "p"}}, "prompt"),
        "context_management": ({"context_management": [{"type": "compaction"}]}, "context_management"),
        "moderation": ({"moderation": {"model": "m"}}, "moderation"),
        "tool_choice.server_label": ({"tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice.type"),
    },
}
SECTIONS = {CHAT: "Chat completions: request", RESPONSES: "Responses: request"}


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_refused_is_refused(api: Api, path: str) -> None:
    """400, with the field as param; all of the table's."""
    refused = {name for name, state in TABLES[SECTIONS[path]].items() if state == "refused"}
    assert refused == set(REFUSED[path])
    good = GOOD if path == CHAT else {"model": "m", "input": "x"}
    for fields, param in REFUSED[path].values():
        result = api.post({**good, **fields}, path)
        assert (result.status_code, result.json["error"]["param"]) == (400, param)


COMPLETION: dict[str, Any] = {
    "model": "m",
    "prompt": "echo x",
    "max_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 1,
    "stop": ["a"],
    "logit_bias": {"1": 1},
    "n": 1,
    "best_of": 1,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "user": "u",
}


@pytest.mark.parametrize("more", [{"echo": True}, {"suffix": "y", "logprobs": 2}], ids=str)
def test_a_completion_with_all_fields(api: Api, more: dict[str, Any]) -> None:
    """All of the table's are honoured or accepted."""
    table = TABLES["Completions: request"]
    assert set(table) == {
        *COMPLETION,
        *_paths_in(COMPLETION["stream_options"], "stream_options"),
        "echo",
        "suffix",
        "logprobs",
    }
    assert "refused" not in table.values()
    result = api.post({**COMPLETION, **more}, "/v1/completions")
    assert result.status_code == 200, result.text


FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
RESPONSE: dict[str, Any] = {
    "model": "m",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "echo x"}]}],
    "instructions": "i",
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_logprobs": 1,
    "max_output_tokens": 64,
    "max_tool_calls": 3,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto", "generate_summary": "auto", "context": "auto", "mode": "x"},
    "truncation": "auto",
    "service_tier": "auto",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "access_programs": {"cyber": "standard"},
    "image": {"context_compression": "auto"},
    "background_options": {"completion_window": "soonest"},
    "text": {"verbosity": "low", "format": {"type": "text"}},
    "tools": [FUNCTION],
    "tool_choice": {"type": "function", "name": "f"},
}
SHAPE = {"type": "json_schema", "name": "s", "description": "d", "schema": {"type": "object"}, "strict": True}


def test_a_response_with_all_fields(api: Api) -> None:
    """What the table says is honoured or accepted is answered."""
    bodies = [RESPONSE, {**RESPONSE, "text": {"format": SHAPE}, "tools": [], "tool_choice": None}]
    bodies += [{**RESPONSE, "tool_choice": ALLOWED, "stream": False, "stream_options": None}]
    sent = {path for body in bodies for path in _paths_in(body)}
    table = TABLES["Responses: request"]
    assert {path for path, state in table.items() if state != "refused"} - sent == {"previous_response_id"}
    for body in bodies:
        result = api.post(body, RESPONSES)
        assert result.status_code == 200, result.text


def test_a_response_has_the_fields_of_the_table(api: Api) -> None:
    """What is sent or constant comes, what is absent does not."""
    body = {**RESPONSE, "stream": False, "stream_options": None, "tool_choice": None}
    result = api.post(body, RESPONSES)
    Response.model_validate(result.json, strict=True)
    table = {path: state for path, state in TABLES["Responses: response"].items() if "." not in path}
    assert {path for path, state in table.items() if state != "absent"} <= result.json.keys()
    assert not {path for path, state in table.items() if state == "absent"} & result.json.keys()


def test_an_embedding_with_all_fields(api: Api) -> None:
    """None is refused for what it is."""
    body = {"model": "m", "input": ["x"], "encoding_format": "float", "dimensions": 2, "user": "u"}
    assert set(TABLES["Embeddings: request"]) == set(body)
    result = api.post(body, "/v1/embeddings")
    assert result.status_code == 200, result.text


def _answers(api: Api, **fields: object) -> Iterator[tuple[str, Any]]:
    """Real answers: their section and object."""
    texts = ('calls {"a":"x"}', 'call c {"input":"x"}', "reason so")
    for text in texts:
        yield "Chat completions: response", api.chat(text, **fields).json
        for chunk in api.stream(text, **fields, stream_options={"include_usage": True})[:-1]:
            yield "Chat completions: chunks", chunk


ALL = {"logprobs": True, "top_logprobs": 1, "service_tier": "auto"}


def test_real_answers_have_the_fields_of_the_tables(api: Api) -> None:
    """What is sent or constant comes, what is absent does not; a constant is always the same."""
    answers = [*_answers(api, **ALL, tools=[TOOL, CUSTOM_TOOL]), *_answers(api, **ALL, functions=[TOOL["function"]])]
    for section in ("Chat completions: response", "Chat completions: chunks"):
        table = TABLES[section]
        objects = [answer for told, answer in answers if told == section]
        values: dict[str, set[str]] = {}
        for answer in objects:
            for path, value in _values_in(answer):
                values.setdefault(path, set()).add(json.dumps(value))
        assert {path for path, state in table.items() if state != "absent"} <= set(values)
        assert not {path for path, state in table.items() if state == "absent"} & set(values)
        varying = {path for path, state in table.items() if state == "constant" and len(values[path]) != 1}
        assert not varying


def _values_in(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            own = f"{path}.{name}".lstrip(".")
            yield own, inner
            yield from _values_in(inner, own)
    elif isinstance(value, list):
        for inner in value:
            yield from _values_in(inner, f"{path}[]")
