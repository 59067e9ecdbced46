"""One rendering of a conversation: decides between the template's own formats and the plain one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hoshikage_core import _arena, _conversation, _shape, _tool_names
from hoshikage_core._shape import Shape
from hoshikage_core.errors import ChatTemplateError

if TYPE_CHECKING:
    from hoshikage_core.chat import ChatTemplate


class Rendering:
    """One rendering.

    Args:
        template: The template.
        messages: The conversation.
        offered: The tools that the model is told of.
        shape: What the answer has to be.
        json_schema: The shape's schema as the caller wrote it.

    Attributes:
        request: What llama.cpp is asked for besides.
    """

    def __init__(
        self,
        template: ChatTemplate,
        messages: list[Mapping[str, Any]],
        offered: Sequence[Mapping[str, Any]],
        shape: Shape,
        json_schema: Any,
    ) -> None:
        self.template = template
        self.messages: list[dict[str, Any]] = _conversation.in_order(_conversation.merge_systems(messages))
        self.offered = offered
        self.shape = shape
        self.json_schema = json_schema
        self.request: dict[str, Any] = {}
        self.is_strict = any(tool["function"].get("strict") for tool in offered)
        self.is_either = bool(shape.tools) and shape.json_schema is not None
        self.is_required = shape.is_required

    def fields(self, reasoning_format: str) -> dict[str, Any]:
        """The prompt's fields, but for those that do not depend on the template."""
        if reasoning_format != "none" or self.shape.is_free:
            return self._fields(reasoning_format)
        # Reasoning that stays in the content is no part of its shape: the grammar lets it pass, the parser takes it in.
        bound = self._fields("auto")
        self.shape = dataclasses.replace(self.shape, is_required=False, json_schema=None, grammar="")
        return {**bound, "parser": self._fields("none")["parser"]}

    def _fields(self, reasoning_format: str) -> dict[str, Any]:
        self.request["reasoning_format"] = reasoning_format
        shape, caps = self.shape, self.template.caps
        if not caps["supports_tool_calls"]:
            self.messages = _conversation.as_text(self.messages)
        elif not caps["supports_parallel_tool_calls"]:
            self.messages = _conversation.one_by_one(self.messages)
        if shape.tools:
            return self._with_tools()
        if shape.json_schema is not None:
            return self._with_schema()
        rendered = self._render()
        if shape.grammar:
            return {**rendered, **_shape.own_grammar(rendered, shape.grammar)}
        return {**rendered, "grammar": "", "grammar_type": "user"}

    def _with_tools(self) -> dict[str, Any]:
        if self.template.caps["supports_tool_calls"] and not self.is_either and (fields := self._with_own_tools()):
            return fields
        messages = _conversation.describe_tools(_conversation.as_text(self.messages), self.offered, how=True)
        return self._plain(self._render(messages))

    def _with_own_tools(self) -> dict[str, Any] | None:
        """Calls as the template has them; None if it cannot."""
        messages = self.messages
        if not self.template.caps["supports_tools"]:
            messages = _conversation.describe_tools(messages, self.offered, how=False)
        try:
            shown = self._render(messages, tools=self.offered)
            fields = self._remembered("calls", shown, lambda: self._own_calls(messages, shown))
        except ChatTemplateError:
            self._render()  # if it is not the tools that it refuses, they have nothing to do with it
            return None
        return None if fields is None else {**fields, "prompt": shown["prompt"]}

    def _own_calls(self, messages: Sequence[Mapping[str, Any]], shown: Mapping[str, Any]) -> dict[str, Any] | None:
        shape: Shape | None = self.shape
        own = self._calls_of(messages, shown, self.shape.tools)
        if own is not None and not _shape.enforces(own, self.shape) and not self.is_strict and not self.is_required:
            # A format with tags for each argument knows of none that the schema does not show.
            shape = _shape.with_shown_arguments(self.shape, self.offered)
            if shape is not None and shape != self.shape:
                own = self._calls_of(messages, shown, shape.tools)
        if own is None or shape is None:
            return None
        if self.is_strict and not self.is_required and not _shape.is_bound(own):
            return None
        is_clear = not shape.names and not any(map(_tool_names.has_twin_arguments, shape.tools))
        if (is_clear and not self.is_strict and not self.is_required) or _shape.enforces(own, shape):
            fields = _shape.own_calls(own, shape, self.offered)
            return None if fields is None else {**own, **fields}
        return self._plain(self._render(messages)) if self.is_required and not self.is_strict else None

    def _calls_of(
        self, messages: Sequence[Mapping[str, Any]], shown: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """What llama.cpp makes of calls of these tools in the template's format; None if it knows none."""
        own = dict(shown) if list(tools) == list(self.offered) else self._render(messages, tools=tools)
        if not _has_calls(own):
            return None
        own = _tool_names.renamed(own, self.shape.names)
        return {**own, "parser": {**own["parser"], "arena": _arena.with_space_before_closing(own["parser"]["arena"])}}

    def _plain(self, host: Mapping[str, Any]) -> dict[str, Any]:
        return {**host, **self._remembered("plain", host, lambda: _shape.plain_format(host, self.shape))}

    def _remembered(self, what: str, rendered: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """A shape's fields: of a conversation, they depend on nothing but how the answer begins."""
        shape = dataclasses.asdict(self.shape)
        flags = [self.is_strict, self.is_required, self.is_either]
        key = [what, shape, self.offered, flags, self.request, rendered["generation_prompt"]]
        return self.template.memo.get(key, make)

    def _with_schema(self) -> dict[str, Any]:
        schema = self.shape.json_schema
        if schema:
            own = self._render(json_schema=schema)
            if fields := self._remembered("schema", own, lambda: _shape.own_schema(own, self.shape)):
                if schema != self.json_schema and "response_format" in self.template.source:
                    own["prompt"] = self._render(json_schema=self.json_schema)["prompt"]
                return {**own, **fields}
        return self._plain(self._render())

    def _render(self, messages: Sequence[Mapping[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
        messages = self.messages if messages is None else messages
        if "tools" in more:
            more["tools"] = list(more["tools"])
        rendered = self._tamed(messages, more)
        if self.request["add_generation_prompt"] and messages and messages[-1].get("role") == "assistant":
            return self._with_turn(rendered, messages, more)
        return rendered

    def _with_turn(
        self, rendered: dict[str, Any], messages: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Opens another turn behind one of the assistant's.

        llama.cpp learns how an answer begins from what the template adds. Here some templates add nothing, and gpt-oss'
        changes the end of the message as well; behind a message of the user's they show it.
        """
        try:
            asked = self._tamed([*messages, {"role": "user", "content": "?"}], more)
        except ChatTemplateError:
            return rendered
        opening = asked["generation_prompt"]
        prompt = rendered["prompt"] if rendered["generation_prompt"] else rendered["prompt"] + opening
        return {**asked, "prompt": prompt} if prompt.endswith(opening) else rendered

    def _tamed(self, messages: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.template.apply({**self.request, "messages": messages, **more})
        except ChatTemplateError:
            # As templates insist; at last with calls as text: some take one at once, or ids of nine letters only.
            for tamed in (_conversation.fold(messages), _conversation.fold(_conversation.as_text(messages))):
                if tamed != messages:
                    with contextlib.suppress(ChatTemplateError):
                        return self.template.apply({**self.request, "messages": tamed, **more})
            raise


def _has_calls(rendered: Mapping[str, Any]) -> bool:
    return any(node.get("tag") == "tool-name" for node in rendered["parser"]["arena"]["parsers"])
