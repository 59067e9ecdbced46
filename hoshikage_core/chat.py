"""Chat templates: messages in, prompt out; generated text in, message out. All of it is llama.cpp's own chat code."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core.errors import InvalidArgumentError
from hoshikage_core.prompt import ChatPrompt

if TYPE_CHECKING:
    from hoshikage_core.model import Model


class ChatTemplate:
    """A chat template of a model; made by ``Model.chat()``.

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
        info = json.loads(call_text(lib.hsk_chat_info_get, out[0]))
        self.source: str = info["source"]
        self.is_explicit: bool = info["is_explicit"]
        self.supports_thinking: bool = info["supports_thinking"]
        self.caps: Mapping[str, bool] = info["caps"]

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Literal["auto", "required", "none"] = "auto",
        tool_name: str | None = None,
        parallel_tool_calls: bool | None = None,
        json_schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        enable_thinking: bool | None = None,
        reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] = "auto",
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """Renders a conversation."""
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            raise InvalidArgumentError("messages", "must be a list of messages")
        if template_kwargs is not None:
            _checks.instance("template_kwargs", template_kwargs, Mapping, "a mapping")
        messages = list(messages)
        request: dict[str, Any] = {
            "messages": messages,
            "tool_choice": tool_choice,
            "parallel_tool_calls": bool(parallel_tool_calls),
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "enable_thinking": enable_thinking is not False,
            "reasoning_format": reasoning_format,
        }
        optional = {"tools": tools, "json_schema": json_schema, "chat_template_kwargs": template_kwargs}
        request.update({name: value for name, value in optional.items() if value is not None})
        if continue_final_message:
            request["continue_final_message"] = True
        data = _checks.to_json("messages", request)
        with self._handle as pointer:
            rendered = json.loads(call_text(lib.hsk_chat_render, pointer, data, len(data)))
        lists = ("stops", "grammar_triggers", "preserved_tokens", "thinking_end_tags")
        rendered.update({name: tuple(rendered[name]) for name in lists})
        rendered["grammar"] = grammar or rendered["grammar"]
        return ChatPrompt(
            **rendered,
            is_plain=not (tools or json_schema or rendered["supports_thinking"]),
            tool_names=tuple(tool["function"]["name"] for tool in tools or ()),
            grammar_type="tool_calls" if tools else "output_format" if json_schema else "user",
            id_seed=secrets.token_hex(8),
        )

    def close(self) -> None:
        """Frees the template; rendering raises ClosedError afterwards."""
        self._handle.close()
