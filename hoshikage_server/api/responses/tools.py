"""The tools of a request as functions, which are what models know, and what their calls mean to the client.

A custom tool takes free text: for the model it is a function with one string. The tools of a namespace (those of an
MCP server, say) are functions whose names begin with it. A search for tools that the client does is a function as well.
OpenAI's own tools run on OpenAI's servers: a request that has only such tools is refused; beside others they are left
out, for coding agents always send some. Those that the client runs, but only OpenAI's models know, are refused. The
response's `tools` are those of the request that the model was shown; items of the input may bring more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api import free_text
from hoshikage_server.api.responses import tagged
from hoshikage_server.api.responses.items import KEPT, Placed
from hoshikage_server.api.responses.objects import MoreTools, SearchOutput
from hoshikage_server.api.tools import Name, require_object
from hoshikage_server.engines.form import Form
from hoshikage_server.errors import RequestError, ServerError

TOOLS_MAX = 1024

_HOSTED = frozenset(
    """
    code_interpreter file_search image_generation mcp programmatic_tool_calling web_search web_search_2025_08_26
    web_search_preview web_search_preview_2025_03_11
    """.split()  # noqa: SIM905
)
# The client would run them, and wait in vain: models here do not know how to call them.
_TAUGHT = frozenset({"apply_patch", "computer", "computer_use", "computer_use_preview", "local_shell", "shell"})


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
    """A regular expression, or a grammar of Lark's."""

    definition: free_text.Definition
    syntax: free_text.Syntax


class CustomTool(msgspec.Struct, frozen=True, tag_field="type", tag="custom", omit_defaults=True):
    """A tool that takes free text."""

    name: Name
    description: str | None = None
    format: FreeFormat | GrammarFormat | None = None


class SearchTool(msgspec.Struct, frozen=True, tag_field="type", tag="tool_search", omit_defaults=True):
    """A search for more tools: by the client, or by OpenAI's servers unless it says so."""

    description: str | None = None
    execution: Literal["server", "client"] = "server"
    parameters: dict[str, Any] | None = None


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
    kind: Literal["function", "custom", "tool_search"] = "function"


SEARCH = Called("tool_search", kind="tool_search")
_Callable = FunctionTool | CustomTool | SearchTool


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

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to call."""
        return not self._functions

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
            name = self._chosen(choice.name, "custom" if isinstance(choice, CustomChoice) else "function")
            form |= {"tool_choice": "required", "tool_name": name}
        elif choice is not None:
            kept = {self._chosen(named.name or named.type, named.type) for named in choice.tools}
            tools = tuple(tool for name, tool in self._functions.items() if name in kept)
            form |= {"tools": tools, "tool_choice": choice.mode}
        return form

    def blame(self, error: ServerError, form: Form) -> bool:
        """Names the request's field in an error about the parameters of a tool; False where it is about no tool."""
        where = re.match(r"tools\[(\d+)\]", str(error.values.get("where")))
        if where is None:
            return False
        name = form.tools[int(where[1])]["function"]["name"]
        is_custom = self.called(name).kind == "custom"
        error.code = "invalid_tool_grammar" if is_custom else "invalid_function_parameters"
        error.param = self._paths[name]
        return True

    def add(self, tool: _Callable, path: str, namespace: str | None = None, *, replaces: bool = False) -> None:
        """One more.

        Args:
            tool: Itself.
            path: Where in the request it stands.
            namespace: What it belongs to.
            replaces: An older one of its name is forgotten.

        Raises:
            RequestError: There is one of this name, there are too many, or its parameters or its grammar cannot be.
        """
        called = SEARCH if isinstance(tool, SearchTool) else Called(tool.name, namespace, _kind(tool))
        name = function_name(called.name, namespace)
        if name in self._functions and not replaces:
            raise RequestError("duplicate_parameter", param=f"{path}.name")
        if len(self._functions) == TOOLS_MAX and name not in self._functions:
            where = path.rpartition("[")[0]
            raise RequestError("array_above_max_length", param=where, limit=TOOLS_MAX, got=TOOLS_MAX + 1)
        if isinstance(tool, CustomTool):
            param, made = f"{path}.format", _custom(tool, name, f"{path}.format")
        else:
            param, made = f"{path}.parameters", {**_without_type(msgspec.to_builtins(tool)), "name": name}
            if tool.parameters:  # clients send empty ones for "no parameters"
                require_object(tool.parameters, param, code="invalid_function_parameters")
                invalid.check_free(tool.parameters, param)
        self._functions[name] = {"type": "function", "function": made}
        self._called[name] = called
        self._paths[name] = param

    def _chosen(self, name: str, kind: str) -> str:
        for function, called in self._called.items():
            if called.name == name and (called.kind == "custom") == (kind == "custom"):
                return function
        raise RequestError("unknown_tool_choice", param="tool_choice", name=name)


def function_name(name: str, namespace: str | msgspec.UnsetType | None) -> str:
    """The function that a tool is for the model."""
    if not namespace:
        return name
    return namespace + ("" if namespace.endswith("__") else "__") + name


def read_tools(raws: Sequence[msgspec.Raw] | None, items: Sequence[Placed]) -> Toolbox:
    """The tools of a request, and those that items of its conversation brought.

    Raises:
        RequestError: One of them cannot be; `param` names it.
    """
    toolbox = Toolbox()
    hosted = _add_all(toolbox, raws or (), "tools", toolbox.shown)
    for item, path in items:
        if isinstance(item, (MoreTools, SearchOutput)):
            found = _add_all(toolbox, item.tools, "input" if path == KEPT else f"{path}.tools", None)
            hosted = hosted or found
    if hosted is not None and toolbox.is_empty:
        raise hosted
    return toolbox


def _add_all(toolbox: Toolbox, raws: Sequence[msgspec.Raw], path: str, shown: list[Any] | None) -> RequestError | None:
    """Adds tools to those that may be called; why the first one is refused that only OpenAI's servers have."""
    hosted: RequestError | None = None
    for index, raw in enumerate(raws):
        where = f"{path}[{index}]"
        kind = tagged.kind_of(raw, where).type
        if isinstance(kind, str) and kind in _TAUGHT:
            raise RequestError("hosted_tool", param=f"{where}.type", got=invalid.show(kind))
        tool = None if isinstance(kind, str) and kind in _HOSTED else _read(raw, where, kind, _READERS)
        if tool is None or (isinstance(tool, SearchTool) and tool.execution == "server"):
            hosted = hosted or RequestError("hosted_tool", param=f"{where}.type", got=invalid.show(kind))
            continue
        if shown is not None:
            shown.append(_as_shown(tool))
        for inner, place, namespace in _flat(tool, where):
            toolbox.add(inner, place, namespace, replaces=shown is None)
    return hosted


def _flat(tool: Any, path: str) -> Iterator[tuple[_Callable, str, str | None]]:
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
        raise tagged.unknown(kind, path, readers, _HOSTED | _TAUGHT)
    return tagged.decode(reader, raw, path)


def _as_shown(tool: Any) -> Any:
    """A tool as a response names it."""
    if isinstance(tool, FunctionTool):  # OpenAI names these always
        return {"parameters": None, "strict": None, **msgspec.to_builtins(tool)}
    return tool


def _kind(tool: FunctionTool | CustomTool) -> Literal["function", "custom"]:
    return "custom" if isinstance(tool, CustomTool) else "function"


def _custom(tool: CustomTool, name: str, param: str) -> dict[str, Any]:
    given = tool.format
    grammar = free_text.TextGrammar(given.syntax, given.definition) if isinstance(given, GrammarFormat) else None
    return free_text.as_function(name, tool.description, grammar, param)


def _without_type(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name not in ("type", "execution")}


_INNER: dict[str, msgspec.json.Decoder[Any]] = {
    "function": msgspec.json.Decoder(FunctionTool),
    "custom": msgspec.json.Decoder(CustomTool),
}
_READERS: dict[str, msgspec.json.Decoder[Any]] = {
    **_INNER,
    "namespace": msgspec.json.Decoder(NamespaceTool),
    "tool_search": msgspec.json.Decoder(SearchTool),
}
