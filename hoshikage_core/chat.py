"""Chat templates: messages in, prompt out, and what binds the answer to it and takes it apart."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hoshikage_core import _arena, _checks, _conversation, _tool_names
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core._memo import Memo
from hoshikage_core._rendering import Rendering
from hoshikage_core._shape import Shape
from hoshikage_core.errors import ChatTemplateError, InvalidArgumentError, JsonSchemaError, Reason
from hoshikage_core.json_schema import TOOLS_WORK_MAX, enforceable, metered
from hoshikage_core.prompt import ChatPrompt

if TYPE_CHECKING:
    from hoshikage_core.model import Model

_OWN_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})
_LISTS = ("stops", "grammar_triggers", "preserved_tokens", "thinking_end_tags")
_N_KEPT = 64  # tools and shapes
_PROBE_TOOL = {
    "type": "function",
    "function": {"name": "probe", "description": "", "parameters": {"type": "object", "properties": {}}},
}


class ChatTemplate:
    """A chat template of a model; made by ``Model.chat()``. Any thread.

    Attributes:
        source: The Jinja text.
        is_explicit: False when the model has no template of its own and llama.cpp's default (ChatML) is used.
        supports_thinking: Whether reasoning can be switched on and off.
        caps: What llama.cpp found the template to be able to do.
    """

    def __init__(self, model: Model, template: str | None = None) -> None:
        out = ffi.new("hsk_chat **")
        text = ffi.NULL if template is None else _checks.c_text("template", template)
        with model.native as pointer:
            call(lib.hsk_chat_new, pointer, text, out)
        self._handle = Handle(out[0], lib.hsk_chat_free, "chat template")
        try:
            info = json.loads(call_text(lib.hsk_chat_info_get, out[0]))
        except ChatTemplateError as error:
            raise ChatTemplateError(_own_words(str(error))) from None
        self.source: str = info["source"]
        self.is_explicit: bool = info["is_explicit"]
        self.supports_thinking: bool = info["supports_thinking"]
        self.caps: Mapping[str, bool] = info["caps"]
        self._id_form: dict[str, Any] | None = None
        self.memo = Memo(_N_KEPT)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Literal["auto", "required", "none"] = "auto",
        tool_name: str | None = None,
        parallel_tool_calls: bool | None = None,
        json_schema: Mapping[str, Any] | bool | None = None,
        grammar: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        enable_thinking: bool | None = None,
        reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] = "auto",
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """Renders a conversation.

        Tools and schemas hold with any template: where it has no format of its own for calls, or one that does not
        hold arguments to a schema that has to be met, calls are made in a format that does, described in the system
        message.

        Args:
            messages: As in OpenAI's chat API.
            tools: As in OpenAI's chat API.
            tool_choice: Whether the answer may, must or must not call a tool.
            tool_name: The only tool that may, and must, be called.
            parallel_tool_calls: Whether it may call several; None: if the template can show several.
            json_schema: What the answer must match. With tools, it matches the schema or calls a tool.
            grammar: GBNF the answer must match, after its reasoning.
            add_generation_prompt: Open the assistant's turn.
            continue_final_message: The last message is the beginning of the answer.
            enable_thinking: Let a reasoning model reason; None: as the template does.
            reasoning_format: "none" leaves the reasoning in the content.
            template_kwargs: More variables for the template.

        Raises:
            ChatTemplateError: The template refused the messages.
            GrammarError: A schema or grammar cannot be enforced.
            InvalidArgumentError: An argument has the wrong type, cannot be written as JSON, or not with another.
        """
        _require_list("messages", messages)
        if template_kwargs is not None:
            _checks.instance("template_kwargs", template_kwargs, Mapping, "a mapping")
            for name in _OWN_VARIABLES.intersection(template_kwargs):
                text = "must not hold '{name}', which the other arguments give"
                raise InvalidArgumentError("template_kwargs", Reason("template_variable", text, name=name))
        offered = [] if tools is None or tool_choice == "none" else _clean_tools(tools)
        called = _callable(offered, tool_name)
        if grammar is not None and (offered or json_schema is not None):
            raise InvalidArgumentError(
                "grammar", Reason("grammar_beside_tools", "cannot be combined with tools or json_schema")
            )
        if parallel_tool_calls is None:
            parallel_tool_calls = tool_name is None and self.caps["supports_parallel_tool_calls"]
        required = bool(offered) and (tool_choice == "required" or tool_name is not None)
        aliases = _tool_names.aliases(called)
        with metered(TOOLS_WORK_MAX):
            callable_tools = [
                self.memo.get(["tool", index, tool], functools.partial(_enforceable_tool, tool, index))
                for index, tool in enumerate(offered)
                if tool_name in (None, tool["function"]["name"])
            ]
        shape = Shape(
            tools=_aliased(aliases, callable_tools),
            names=aliases,
            is_required=required,
            is_parallel=parallel_tool_calls,
            json_schema=None if json_schema is None or required else enforceable(json_schema),
            grammar="" if grammar is None else _checks.text_without_nul("grammar", grammar),
        )
        work = Rendering(self, list(messages), offered, shape, json_schema)
        work.request = {
            "parallel_tool_calls": parallel_tool_calls,
            "tool_choice": "required" if required else "auto",
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "enable_thinking": _thinking(enable_thinking, template_kwargs),
            **({"chat_template_kwargs": dict(template_kwargs)} if template_kwargs else {}),
            **({"continue_final_message": True} if continue_final_message else {}),
        }
        prefix = _continued(work.messages) if continue_final_message else ""
        fields = work.fields(reasoning_format)
        return ChatPrompt(
            **{**fields, **{name: tuple(fields[name]) for name in _LISTS}},
            is_plain=_arena.is_plain(fields["parser"]["arena"], fields["parser"]["generation_prompt"]),
            tool_names=tuple(tool["function"]["name"] for tool in called),
            prefix_content=prefix,
            borders=_borders(work.messages, fields["prompt"], fields["generation_prompt"]),
            id_seed=os.urandom(8).hex(),
            **(self._ids(fields) if called else {}),
        )

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """llama.cpp's rendering of a request, as hoshikage.h describes both."""
        data = _checks.to_json("messages", request)
        try:
            with self._handle as pointer:
                rendered: dict[str, Any] = json.loads(call_text(lib.hsk_chat_render, pointer, data, len(data)))
        except ChatTemplateError as error:
            raise ChatTemplateError(_own_words(str(error))) from None
        return rendered

    def _ids(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ids the template accepts, and whether those that the model writes are to be kept."""
        form = self._shown_ids()
        return {**form, "keeps_ids": form.get("keeps_ids", False) and _arena.has_early_ids(fields["parser"]["arena"])}

    def _shown_ids(self) -> Mapping[str, Any]:
        """What ids the template accepts, and whether it shows them; tried once."""
        if self._id_form is None:
            form: dict[str, Any] = {}
            for length in (24, 9):
                call_id = "a1B2c3D4e" if length == 9 else "call_" + 6 * "a1B2"
                function = {"name": "probe", "arguments": "{}"}
                messages = [
                    {"role": "user", "content": "u"},
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
                    },
                    {"role": "tool", "tool_call_id": call_id, "name": "probe", "content": "r"},
                ]
                try:
                    prompt = self.apply({"messages": messages, "tools": [_PROBE_TOOL]})["prompt"]
                except ChatTemplateError:
                    continue
                form = {"id_length": length, "keeps_ids": call_id in prompt}
                break
            self._id_form = form
        return self._id_form

    def close(self) -> None:
        """Frees the template; rendering raises ClosedError afterwards."""
        self._handle.close()


def _require_list(field: str, value: object) -> None:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidArgumentError(field, Reason("no_list_of", "must be a list of {field}", field=field))


def _clean_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tools with all keys that llama.cpp reads, and no others but ``strict``."""
    _require_list("tools", tools)
    cleaned = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        _checks.instance(where, tool, Mapping, "a tool")
        if tool.get("type") != "function":
            raise InvalidArgumentError(where, Reason("no_function", "must have the type function"))
        function = _checks.instance(f"{where}.function", tool.get("function"), Mapping, "a function")
        name = _checks.text(f"{where}.function.name", function.get("name"))
        if not name or name in names:
            reason = Reason("tool_name_taken", "must be a name that no other tool has")
            raise InvalidArgumentError(f"{where}.function.name", reason)
        names.add(name)
        parameters = function.get("parameters")
        if parameters is not None:
            _checks.instance(f"{where}.function.parameters", parameters, Mapping, "a JSON schema")
        clean = {
            "name": name,
            "description": function.get("description") or "",
            "parameters": dict(parameters) if parameters else {"type": "object", "properties": {}},
        }
        if function.get("strict"):
            clean["strict"] = True
        cleaned.append({"type": "function", "function": clean})
    return cleaned


def _callable(offered: list[dict[str, Any]], tool_name: str | None) -> list[dict[str, Any]]:
    if tool_name is None:
        return offered
    called = [tool for tool in offered if tool["function"]["name"] == tool_name]
    if not called:
        raise InvalidArgumentError("tool_name", Reason("unknown_tool", "must be the name of one of the tools"))
    return called


def _enforceable_tool(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    function = tool["function"]
    try:
        schema = enforceable(function["parameters"], strict=bool(function.get("strict")))
    except JsonSchemaError as error:
        raise JsonSchemaError(error.path, error.keyword, error.reason, f"tools[{index}]") from None
    return {**tool, "function": {**function, "parameters": schema}}


def _aliased(aliases: Iterable[str], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not aliases:
        return tools
    return [
        {**tool, "function": {**tool["function"], "name": alias}} for alias, tool in zip(aliases, tools, strict=True)
    ]


def _thinking(wanted: bool | None, template_kwargs: Mapping[str, Any] | None) -> bool:
    value = (template_kwargs or {}).get("enable_thinking", True) if wanted is None else wanted
    return bool(_checks.instance("enable_thinking", value, bool, "True or False"))


def _continued(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text that a last message of the assistant's begins with."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        text = "must end with a text of the assistant's to continue it"
        raise InvalidArgumentError("messages", Reason("nothing_to_continue", text))
    return _conversation.text_of(last)


def _borders(messages: Sequence[Mapping[str, Any]], prompt: str, generation_prompt: str) -> tuple[int, ...]:
    """Where the last message of the user's and the answer begin; a guess, where a text comes twice."""
    asked = next((message for message in reversed(messages) if message.get("role") == "user"), None)
    text = "" if asked is None else _conversation.text_of(asked).strip()
    found = prompt.rfind(text) if text else -1
    answer = len(prompt.removesuffix(generation_prompt))
    return (found, answer) if 0 < found < answer else (answer,)


def _own_words(message: str) -> str:
    """The reason in a message of llama.cpp's: what the template itself said, if it did."""
    _, _, said = message.rpartition("Jinja Exception: ")
    said = said if said != message else message.split("Automatic parser generation failed: ")[-1]
    return said.strip() or message
