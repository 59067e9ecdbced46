"""What binds an answer and takes it apart: grammar and parser for tools, schemas and grammars, with any template."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hoshikage_core import _arena, _checks
from hoshikage_core._arena import Arena
from hoshikage_core._ffi import call_text, lib
from hoshikage_core._gbnf import renamed as renamed_rules
from hoshikage_core._tagged import Tagged
from hoshikage_core._tool_names import renamed
from hoshikage_core.errors import JsonSchemaError
from hoshikage_core.json_schema import complete_grammar, enforceable
from hoshikage_core.prompt import TRIGGER_PATTERN, TRIGGER_WORD

_PEG_NATIVE = 2  # llama.cpp's COMMON_CHAT_FORMAT_PEG_NATIVE
_RESPONSE_NAMES = ("response-format-schema", "response-format")
_CALL_START, _CALL_END = "<tool_call>", "</tool_call>"
_UNSEEN_TRIGGER = ">>>(?!all)"  # functionary's: the prompt ends with ">>>", so the first call does not begin with it
_ELSEWHERE = frozenset({"allOf", "anyOf", "oneOf", "$ref"})  # where arguments may be named besides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What an answer has to be.

    Attributes:
        tools: The tools that may be called, with schemas that a grammar enforces.
        names: By the tools' names, what they are called in the answer, if that differs.
        is_required: Whether one of them must be.
        is_parallel: Whether several may be.
        json_schema: What the content must match, as a grammar enforces it.
        grammar: What the content must match, in GBNF.
    """

    tools: Sequence[Mapping[str, Any]] = ()
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_required: bool = False
    is_parallel: bool = False
    json_schema: Mapping[str, Any] | None = None
    grammar: str = ""

    @property
    def schemas(self) -> dict[str, Any]:
        """By the names that llama.cpp's parsers have for them."""
        schemas = {_schema_name(tool): tool["function"]["parameters"] for tool in self.tools}
        if self.json_schema is not None:
            schemas |= dict.fromkeys(_RESPONSE_NAMES, self.json_schema)
        return schemas

    @property
    def is_free(self) -> bool:
        """Whether any text will do."""
        return not self.is_required and self.json_schema is None and not self.grammar

    @property
    def is_lazy(self) -> bool:
        """Whether the grammar begins with a call only."""
        return bool(self.tools) and self.is_free

    @property
    def grammar_type(self) -> str:
        """As ``ChatPrompt`` has it."""
        return "tool_calls" if self.tools else "output_format"


Fields = dict[str, Any]
"""Fields of a ChatPrompt."""


def enforces(rendered: Mapping[str, Any], shape: Shape) -> bool:
    """Whether the template's own format holds the arguments of every tool to their schema in full."""
    return {_schema_name(tool) for tool in shape.tools} <= _arena.schema_names(rendered["parser"]["arena"])


def own_calls(rendered: Mapping[str, Any], shape: Shape, offered: Sequence[Mapping[str, Any]]) -> Fields | None:
    """The template's own format for calls, tightened; None where arguments could not be read as what they are.

    Args:
        rendered: What llama.cpp made of it.
        shape: What the answer has to be.
        offered: Its tools as the caller wrote them.
    """
    fields: Fields = {"grammar_type": shape.grammar_type}
    if shape.is_required:  # some formats name what begins a call all the same
        fields["grammar_triggers"] = ()
    if not enforces(rendered, shape):
        tagged = Tagged(rendered["parser"]["arena"], shape.tools, offered)
        if tagged.misreads:
            return None
        if tagged.is_tighter and _arena.schema_names(tagged.arena) <= tagged.schemas.keys():
            return {**fields, "grammar": _grammar(tagged.arena, shape, tagged.schemas)}
        return {**fields, "grammar": complete_grammar(rendered["grammar"])}
    arena = rendered["parser"]["arena"]
    if not rendered["grammar"]:
        return {**fields, **_bound_from_the_name(arena, shape)}
    if shape.is_required:
        arena = _arena.without_content(arena)
    if not shape.is_parallel:
        arena = _arena.with_one_call(arena)
    return {**fields, "grammar": _grammar(arena, shape), "parser": {**rendered["parser"], "arena": arena}}


def is_bound(rendered: Mapping[str, Any]) -> bool:
    """Whether there is a way to tell that a call has begun, so that a grammar can take over."""
    if not rendered["grammar"]:
        return _arena.name_pattern(rendered["parser"]["arena"]) is not None
    return all(trigger["value"] != _UNSEEN_TRIGGER for trigger in rendered["grammar_triggers"])


def _bound_from_the_name(arena: Arena, shape: Shape) -> Fields:
    """Binds calls that no tag announces. Until the name of a tool is there, it may be any JSON."""
    pattern = _arena.name_pattern(arena)
    if pattern is None:
        return {"grammar": ""}
    trigger = {"type": TRIGGER_PATTERN, "value": pattern}
    return {"grammar": _grammar(_arena.from_names(arena), shape), "grammar_lazy": True, "grammar_triggers": (trigger,)}


def with_shown_arguments(shape: Shape, offered: Sequence[Mapping[str, Any]]) -> Shape | None:
    """The shape with tools whose schemas show each argument; None where one cannot, and would be called without any.

    What a tool takes besides the arguments that it names is given up.

    Args:
        shape: The shape.
        offered: Its tools as the caller wrote them.
    """
    shown = []
    for tool, written in zip(shape.tools, offered, strict=True):
        if "properties" not in tool["function"]["parameters"]:
            closed = _without_others(written["function"]["parameters"])
            if closed is None:
                return None
            tool = {**tool, "function": {**tool["function"], "parameters": closed}}
        shown.append(tool)
    return dataclasses.replace(shape, tools=shown)


def _without_others(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """A schema that takes no arguments but those that it names; None where that is not all that hides them."""
    is_map = "additionalProperties" in parameters and not parameters.get("properties")
    if is_map or _ELSEWHERE.intersection(parameters):
        return None
    try:
        closed = enforceable({**parameters, "additionalProperties": False}, strict=False)
    except JsonSchemaError:
        return None
    return closed if "properties" in closed else None


def own_schema(rendered: Mapping[str, Any], shape: Shape) -> Fields | None:
    """The template's own format for JSON; None if it has none."""
    arena = rendered["parser"]["arena"]
    if not _arena.schema_names(arena).intersection(_RESPONSE_NAMES):
        return None
    return {"grammar_type": "output_format", "grammar": _grammar(arena, shape)}


def plain_format(rendered: Mapping[str, Any], shape: Shape) -> Fields:
    """A format of ours in place of the content of a template that was rendered without tools and schema."""
    request = {
        "tools": list(shape.tools),
        "parallel_tool_calls": shape.is_parallel,
        "is_required": shape.is_required,
        **({} if shape.json_schema is None else {"json_schema": shape.json_schema}),
    }
    data = _checks.to_json("tools", request)
    content = renamed(json.loads(call_text(lib.hsk_parser_arena, data, len(data))), shape.names)
    arena = _arena.with_content(rendered["parser"]["arena"], content)
    fields: Fields = {
        "grammar": _grammar(arena, shape),
        "grammar_type": shape.grammar_type,
        "parser": {**rendered["parser"], "format": _PEG_NATIVE, "arena": arena},
    }
    if shape.tools:
        fields["preserved_tokens"] = (*rendered["preserved_tokens"], _CALL_START, _CALL_END)
    if shape.tools and not shape.is_required:
        trigger = {"type": TRIGGER_WORD, "value": _CALL_START}
        fields |= {"grammar_lazy": shape.is_lazy, "grammar_triggers": (trigger,)}
    return fields


def own_grammar(rendered: Mapping[str, Any], grammar: str) -> Fields:
    """A grammar of the caller's, in place of the content: after the reasoning, if there is any."""
    if _arena.is_plain(rendered["parser"]["arena"], rendered["generation_prompt"]):
        return {"grammar": grammar, "grammar_type": "user"}
    guest: Arena = {
        "parsers": [{"type": "epsilon"}, {"type": "gbnf", "child": 0, "grammar": "user-root"}],
        "rules": {},
        "root": 1,
    }
    around = _grammar(_arena.with_content(rendered["parser"]["arena"], guest), Shape())
    return {"grammar": f"{around}\n{renamed_rules(grammar, 'user-')}", "grammar_type": "output_format"}


def _grammar(arena: Arena, shape: Shape, schemas: Mapping[str, Any] | None = None) -> str:
    schemas = shape.schemas if schemas is None else schemas
    data = _checks.to_json("tools", {"arena": _arena.bounded(arena), "schemas": schemas, "is_lazy": shape.is_lazy})
    grammar = call_text(lib.hsk_parser_grammar, data, len(data)).decode("utf-8")
    return str(complete_grammar(grammar))


def _schema_name(tool: Mapping[str, Any]) -> str:
    return f"tool-{tool['function']['name']}-schema"
