"""The tools of a request as functions, which are what models know, and what their calls mean to the client.

A custom tool takes free text: for the model it is a function with one string. The tools of a namespace (those of an
MCP server, say) are functions whose names begin with it. OpenAI's own tools run on OpenAI's servers: a request that has
only such tools is refused; beside others they are left out, for coding agents always send some. The response's `tools`
are those that the model was shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api.responses import free_text, tagged
from hoshikage_server.api.tools import Name, require_object
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.sampling import Text
from hoshikage_server.errors import RequestError, ServerError

TOOLS_MAX = 1024

_HOSTED = frozenset(
    """
    apply_patch code_interpreter computer computer_use computer_use_preview file_search image_generation local_shell mcp
    programmatic_tool_calling shell tool_search web_search web_search_2025_08_26 web_search_preview
    web_search_preview_2025_03_11
    """.split()  # noqa: SIM905
)


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function", omit_defaults=True):
    """A function; `strict` refuses what of its parameters cannot be enforced in full."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of what a custom tool's text may look like."""


class FreeFormat(_Format, frozen=True, tag="text"):
    """Any text."""


class GrammarFormat(_Format, frozen=True, tag="grammar"):
    """A regular expression, which is enforced, or a grammar of Lark's, which the model is only told of."""

    definition: Text
    syntax: Literal["lark", "regex"]


class CustomTool(msgspec.Struct, frozen=True, tag_field="type", tag="custom", omit_defaults=True):
    """A tool that takes free text."""

    name: Name
    description: str | None = None
    format: FreeFormat | GrammarFormat | None = None


class NamespaceTool(msgspec.Struct, frozen=True, tag_field="type", tag="namespace"):
    """Several tools under one name."""

    name: Name
    tools: list[msgspec.Raw]
    description: str | None = None


class Named(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the tools."""

    type: str
    name: str | None = None


class _Choice(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of choices that are no single word."""


class FunctionChoice(_Choice, frozen=True, tag="function"):
    """This function has to be called."""

    name: str


class CustomChoice(_Choice, frozen=True, tag="custom"):
    """This custom tool has to be called."""

    name: str


class AllowedChoice(_Choice, frozen=True, tag="allowed_tools"):
    """Only some of the tools may be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Named], Meta(min_length=1)]


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice


class Called(NamedTuple):
    """What a function's name means to the client."""

    name: str
    namespace: str | None = None
    is_custom: bool = False


@dataclass
class Toolbox:
    """The tools a model is shown.

    Attributes:
        shown: Them, as the client named them.
    """

    shown: list[Any] = field(default_factory=list)
    _functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    _called: dict[str, Called] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def called(self, function: str) -> Called:
        """What the call of a function means."""
        return self._called.get(function, Called(function))

    def form(self, choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any]:
        """The fields of `Form` that say which tools may be called.

        Raises:
            RequestError: The choice is one that these tools do not leave.
        """
        if not self._functions:
            if choice not in (None, "none", "auto"):
                raise RequestError("only_with_tools", param="tool_choice")
            return {}
        form: dict[str, Any] = {"tools": tuple(self._functions.values()), "parallel_tool_calls": parallel}
        if isinstance(choice, str):
            form["tool_choice"] = choice
        elif isinstance(choice, (FunctionChoice, CustomChoice)):
            name = self._chosen(choice.name, isinstance(choice, CustomChoice))
            form |= {"tool_choice": "required", "tool_name": name}
        elif choice is not None:
            kept = {self._chosen(named.name or named.type, named.type == "custom") for named in choice.tools}
            tools = tuple(tool for name, tool in self._functions.items() if name in kept)
            form |= {"tools": tools, "tool_choice": choice.mode}
        return form

    def blame(self, error: ServerError, form: Form) -> bool:
        """Names the request's field in an error about the parameters of a tool; False where it is about no tool."""
        where = re.match(r"tools\[(\d+)\]", str(error.values.get("where")))
        if where is None:
            return False
        name = form.tools[int(where[1])]["function"]["name"]
        error.code, error.param = "invalid_function_parameters", self._paths[name]
        return True

    def add(self, tool: FunctionTool | CustomTool, path: str, namespace: str | None = None) -> None:
        """One more.

        Raises:
            RequestError: There is one of this name, or its parameters are no object.
        """
        name = function_name(tool.name, namespace)
        if name in self._functions:
            raise RequestError("duplicate_parameter", param=f"{path}.name")
        if isinstance(tool, FunctionTool) and tool.parameters:  # clients send empty ones for "no parameters"
            require_object(tool.parameters, f"{path}.parameters", code="invalid_function_parameters")
            invalid.check_free(tool.parameters, f"{path}.parameters")
        is_custom = isinstance(tool, CustomTool)
        made = _custom(tool) if isinstance(tool, CustomTool) else msgspec.to_builtins(tool)
        self._functions[name] = {"type": "function", "function": {**_without_type(made), "name": name}}
        self._called[name] = Called(tool.name, namespace, is_custom)
        self._paths[name] = f"{path}.format" if is_custom else f"{path}.parameters"

    def _chosen(self, name: str, is_custom: bool) -> str:
        for function, called in self._called.items():
            if called.name == name and called.is_custom == is_custom:
                return function
        raise RequestError("unknown_tool_choice", param="tool_choice", name=name)


def function_name(name: str, namespace: str | msgspec.UnsetType | None) -> str:
    """The function that a tool is for the model."""
    if not namespace:
        return name
    return namespace + ("" if namespace.endswith("__") else "__") + name


def read_tools(raws: Sequence[msgspec.Raw] | None) -> Toolbox:
    """The tools of a request.

    Raises:
        RequestError: One of them cannot be; `param` names it.
    """
    toolbox = Toolbox()
    hosted: RequestError | None = None
    for index, raw in enumerate(raws or ()):
        path = f"tools[{index}]"
        kind = tagged.kind_of(raw, path).type
        if isinstance(kind, str) and kind in _HOSTED:
            hosted = hosted or tagged.unknown(kind, path, _READERS, _HOSTED)
            continue
        tool = _read(raw, path, kind, _READERS)
        toolbox.shown.append(_as_shown(tool))
        for inner, where, namespace in _flat(tool, path):
            toolbox.add(inner, where, namespace)
    if hosted is not None and not toolbox.shown:
        raise hosted
    return toolbox


def _flat(tool: Any, path: str) -> Iterator[tuple[FunctionTool | CustomTool, str, str | None]]:
    if not isinstance(tool, NamespaceTool):
        yield tool, path, None
        return
    for index, raw in enumerate(tool.tools):
        where = f"{path}.tools[{index}]"
        inner = _read(raw, where, tagged.kind_of(raw, where).type, _INNER)
        yield inner, where, tool.name


def _read(raw: msgspec.Raw, path: str, kind: Any, readers: dict[str, msgspec.json.Decoder[Any]]) -> Any:
    reader = readers.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise tagged.unknown(kind, path, readers, _HOSTED)
    return tagged.decode(reader, raw, path)


def _as_shown(tool: Any) -> Any:
    """A tool as a response names it: a format that is not enforced is none."""
    if isinstance(tool, CustomTool) and isinstance(tool.format, GrammarFormat) and tool.format.syntax == "lark":
        return {**msgspec.to_builtins(tool), "format": {"type": "text"}}
    if isinstance(tool, FunctionTool):  # OpenAI names these always
        return {"parameters": None, "strict": None, **msgspec.to_builtins(tool)}
    return tool


def _custom(tool: CustomTool) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    told = [tool.description] if tool.description else []
    if isinstance(tool.format, GrammarFormat):
        told.append(f"The input matches this {tool.format.syntax} grammar:\n{tool.format.definition}")
        if tool.format.syntax == "regex":
            text["pattern"] = f"^(?:{tool.format.definition})$"
    return {
        "description": "\n\n".join(told),
        "parameters": {
            "type": "object",
            "properties": {free_text.FIELD: text},
            "required": [free_text.FIELD],
            "additionalProperties": False,
        },
        "strict": True,
    }


def _without_type(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "type"}


_INNER: dict[str, msgspec.json.Decoder[Any]] = {
    "function": msgspec.json.Decoder(FunctionTool),
    "custom": msgspec.json.Decoder(CustomTool),
}
_READERS: dict[str, msgspec.json.Decoder[Any]] = {**_INNER, "namespace": msgspec.json.Decoder(NamespaceTool)}
