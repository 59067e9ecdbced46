"""Tools and response formats of a request: their structs, what of them cannot be, and what the engine is told.

Whether a schema can be enforced only the engine knows; what is wrong with it is told with its path all the same, see
`blame_schema`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api import free_text
from hoshikage_server.errors import RequestError, ServerError
from hoshikage_server.messages import said

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$" + invalid.NO_LINE_END)]


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that a model may call; `strict` refuses what of its parameters cannot be enforced in full."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of tools."""


class FunctionTool(_Tool, frozen=True, tag="function"):
    """A function."""

    function: Function


class _CustomFormat(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of what a custom tool's text may look like."""


class FreeFormat(_CustomFormat, frozen=True, tag="text"):
    """Any text."""


class CustomGrammar(msgspec.Struct, frozen=True):
    """A regular expression, or a grammar of Lark's."""

    definition: free_text.Definition
    syntax: free_text.Syntax


class GrammarFormat(_CustomFormat, frozen=True, tag="grammar"):
    """Text that a grammar takes."""

    grammar: CustomGrammar


class Custom(msgspec.Struct, frozen=True):
    """A tool that takes free text."""

    name: Name
    description: str | None = None
    format: FreeFormat | GrammarFormat | None = None


class CustomTool(_Tool, frozen=True, tag="custom"):
    """A tool that takes free text."""

    custom: Custom


Tool = FunctionTool | CustomTool
Tools = Annotated[list[Tool], Meta(min_length=1, max_length=128)]
Functions = Annotated[list[Function], Meta(min_length=1, max_length=128)]


class FunctionName(msgspec.Struct, frozen=True):
    """Which function."""

    name: Name


class _Choice(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of choices that are no single word."""


class NamedChoice(_Choice, frozen=True, tag="function"):
    """This function has to be called."""

    function: FunctionName


class CustomChoice(_Choice, frozen=True, tag="custom"):
    """This custom tool has to be called."""

    custom: FunctionName


class AllowedTools(msgspec.Struct, frozen=True):
    """Some of the tools, and whether one of them has to be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice | CustomChoice], Meta(min_length=1)]


class AllowedChoice(_Choice, frozen=True, tag="allowed_tools"):
    """Only some of the tools may be called."""

    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice | CustomChoice


FunctionChoice = Literal["none", "auto"] | FunctionName


class JsonSchemaFormat(msgspec.Struct, frozen=True):
    """A schema that the answer matches."""

    name: Name
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of response formats."""


class TextFormat(_Format, frozen=True, tag="text"):
    """Any text."""


class JsonObjectFormat(_Format, frozen=True, tag="json_object"):
    """A JSON object."""

    schema: dict[str, Any] | None = None  # llama-server's


class JsonSchemaResponseFormat(_Format, frozen=True, tag="json_schema"):
    """JSON that matches a schema."""

    json_schema: JsonSchemaFormat


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaResponseFormat


def tools_form(tools: list[Tool] | None, choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any]:
    """The fields of `Form` that say which tools may be called.

    Raises:
        RequestError: `param` names what of it cannot be.
    """
    if tools is None:
        for name, value in (("tool_choice", choice), ("parallel_tool_calls", parallel)):
            if value is not None:
                raise RequestError("only_with_tools", param=name)
        return {}
    functions = _functions(tools)
    form: dict[str, Any] = {"tools": tuple(functions.values()), "parallel_tool_calls": parallel}
    if isinstance(choice, str):
        form["tool_choice"] = choice
    elif isinstance(choice, AllowedChoice):
        names = [_chosen(named, tools) for named in choice.allowed_tools.tools]
        kept = tuple(tool for name, tool in functions.items() if name in names)
        form |= {"tools": kept, "tool_choice": choice.allowed_tools.mode}
    elif choice is not None:
        form |= {"tool_choice": "required", "tool_name": _chosen(choice, tools)}
    return form


def custom_names(tools: Sequence[Tool] | None) -> frozenset[str]:
    """The names of the tools that take free text."""
    return frozenset(tool.custom.name for tool in tools or () if isinstance(tool, CustomTool))


def schema_of(response_format: ResponseFormat | None) -> dict[str, Any] | None:
    """What the answer must match.

    Raises:
        RequestError: The schema is not one of an object, which OpenAI wants it to be.
    """
    if isinstance(response_format, JsonSchemaResponseFormat):
        schema = response_format.json_schema.schema
        param = "response_format.json_schema.schema"
    elif isinstance(response_format, JsonObjectFormat):
        schema, param = response_format.schema, "response_format.schema"
    else:
        return None
    if schema is None:
        return {"type": "object"}
    require_object(schema, param)
    invalid.check_free(schema, param)
    return schema


def tools_of_functions(
    functions: list[Function], choice: FunctionChoice | None
) -> tuple[list[Tool], ToolChoice | None]:
    """The tools that functions are, and the choice among them.

    Raises:
        RequestError: `param` names what of it cannot be.
    """
    known: dict[str, dict[str, Any]] = {}
    for index, function in enumerate(functions):
        _add(known, function, f"functions[{index}]")
    if isinstance(choice, FunctionName) and choice.name not in known:
        raise RequestError("unknown_function_call", param="function_call", name=choice.name)
    tools: list[Tool] = [FunctionTool(function) for function in functions]
    return tools, NamedChoice(choice) if isinstance(choice, FunctionName) else choice


def require_object(schema: dict[str, Any], param: str, *, code: str = "invalid_json_schema") -> None:
    """OpenAI's rule for the root of a schema.

    Raises:
        RequestError: It is not the schema of an object.
    """
    is_object = schema.get("type") == "object" or (
        "type" not in schema and ("$ref" in schema or "properties" in schema)
    )
    if not is_object:
        raise RequestError(code, param=param, path="#", keyword="'type'", reason=said("schema_no_object"))


def blame_schema(
    error: ServerError,
    param: str,
    tools: Sequence[Tool],
    sent: Sequence[dict[str, Any]],
    *,
    are_functions: bool = False,
) -> None:
    """Names the field in an error about a schema.

    Args:
        error: The engine's; its `where` is the number of a tool that it was sent, or nothing.
        param: What is to blame if no tool is.
        tools: The request's.
        sent: Those that may be called, as `tools_form` made them.
        are_functions: Whether the request called its tools functions.
    """
    where = re.match(r"tools\[(\d+)\]", str(error.values.get("where")))
    if where is None:
        error.param = param
        return
    name = sent[int(where[1])]["function"]["name"]
    index = [_name(tool) for tool in tools].index(name)
    if isinstance(tools[index], CustomTool):
        error.code, error.param = "invalid_tool_grammar", f"tools[{index}].custom.format"
        return
    error.code = "invalid_function_parameters"
    error.param = f"functions[{index}].parameters" if are_functions else f"tools[{index}].function.parameters"


def _functions(tools: list[Tool]) -> dict[str, dict[str, Any]]:
    functions: dict[str, dict[str, Any]] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            _add(functions, tool.function, f"tools[{index}].function")
        else:
            _add_custom(functions, tool.custom, f"tools[{index}].custom")
    return functions


def _name(tool: Tool) -> str:
    return tool.function.name if isinstance(tool, FunctionTool) else tool.custom.name


def _add_custom(functions: dict[str, dict[str, Any]], tool: Custom, path: str) -> None:
    if tool.name in functions:
        raise RequestError("duplicate_parameter", param=f"{path}.name")
    given = tool.format.grammar if isinstance(tool.format, GrammarFormat) else None
    grammar = None if given is None else free_text.TextGrammar(given.syntax, given.definition)
    made = free_text.as_function(tool.name, tool.description, grammar, f"{path}.format")
    functions[tool.name] = {"type": "function", "function": made}


def _add(functions: dict[str, dict[str, Any]], function: Function, path: str) -> None:
    if function.name in functions:
        raise RequestError("duplicate_parameter", param=f"{path}.name")
    parameters = function.parameters
    if parameters:  # OpenAI refuses an empty schema too; but many clients send one for a function without parameters
        require_object(parameters, f"{path}.parameters", code="invalid_function_parameters")
        invalid.check_free(parameters, f"{path}.parameters")
    functions[function.name] = {"type": "function", "function": msgspec.to_builtins(function)}


def _chosen(choice: NamedChoice | CustomChoice, tools: Sequence[Tool]) -> str:
    kind, named = (FunctionTool, choice.function) if isinstance(choice, NamedChoice) else (CustomTool, choice.custom)
    if not any(isinstance(tool, kind) and _name(tool) == named.name for tool in tools):
        raise RequestError("unknown_tool_choice", param="tool_choice", name=named.name)
    return named.name
