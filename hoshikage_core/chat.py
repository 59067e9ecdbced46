"""Chat templates: messages in, prompt out; generated text in, message out. All of it is llama.cpp's own chat code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from hoshikage_core.model import Model


@dataclasses.dataclass(frozen=True)
class ChatPrompt:
    """A rendered conversation, and what generation and parsing need to know about it.

    Attributes:
        prompt: The text to tokenize (with special tokens parsed).
        stops: Texts that end the answer besides the model's end tokens.
        grammar: GBNF the answer must match, or "".
        grammar_type: What the grammar is for: "tool_calls", "output_format" or "user".
        grammar_lazy: Whether the grammar starts only at one of ``grammar_triggers``.
        grammar_triggers: What starts a lazy grammar, in llama.cpp's form.
        preserved_tokens: Special tokens whose text the parser must see.
        generation_prompt: The part of the prompt that already belongs to the answer.
        supports_thinking: Whether the template has a reasoning block.
        thinking_start_tag: What opens it.
        thinking_end_tags: What closes it.
        parser: What ``ChatTemplate.parse`` needs to take the answer apart.
    """

    prompt: str
    stops: tuple[str, ...]
    grammar: str
    grammar_type: str
    grammar_lazy: bool
    grammar_triggers: tuple[Mapping[str, Any], ...]
    preserved_tokens: tuple[str, ...]
    generation_prompt: str
    supports_thinking: bool
    thinking_start_tag: str
    thinking_end_tags: tuple[str, ...]
    parser: Mapping[str, Any]


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
        parallel_tool_calls: bool = False,
        json_schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        enable_thinking: bool = True,
        reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] = "auto",
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """Renders a conversation.

        Args:
            messages: As in OpenAI's chat API.
            tools: As in OpenAI's chat API.
            tool_choice: Whether the answer may, must or must not call a tool.
            parallel_tool_calls: Whether it may call several.
            json_schema: What the answer must match.
            grammar: GBNF the answer must match.
            add_generation_prompt: Open the assistant's turn.
            continue_final_message: The last message is the beginning of the answer.
            enable_thinking: Let a reasoning model reason.
            reasoning_format: How ``parse`` finds the reasoning.
            template_kwargs: More variables for the template.

        Raises:
            ChatTemplateError: The template refused the messages.
            InvalidArgumentError: An argument has the wrong type, or cannot be written as JSON.
        """
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            raise InvalidArgumentError("messages", "must be a list of messages")
        if template_kwargs is not None:
            _checks.instance("template_kwargs", template_kwargs, Mapping, "a mapping")
        request: dict[str, Any] = {
            "messages": list(messages),
            "tool_choice": tool_choice,
            "parallel_tool_calls": parallel_tool_calls,
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "enable_thinking": enable_thinking,
            "reasoning_format": reasoning_format,
        }
        optional = {
            "tools": tools,
            "json_schema": json_schema,
            "grammar": grammar,
            "chat_template_kwargs": template_kwargs,
        }
        request.update({name: value for name, value in optional.items() if value is not None})
        if continue_final_message:
            request["continue_final_message"] = True
        data = _checks.to_json("messages", request)
        with self._handle as pointer:
            rendered = json.loads(call_text(lib.hsk_chat_render, pointer, data, len(data)))
        lists = ("stops", "grammar_triggers", "preserved_tokens", "thinking_end_tags")
        rendered.update({name: tuple(rendered[name]) for name in lists})
        return ChatPrompt(**rendered)

    @staticmethod
    def parse(prompt: ChatPrompt, text: str, *, partial: bool = False) -> dict[str, Any]:
        """Takes generated text apart.

        Args:
            prompt: What the text was generated from.
            text: The text so far.
            partial: More is to come: an unfinished tool call is not an error.

        Returns:
            A message as in OpenAI's chat API, with ``reasoning_content`` and ``tool_calls`` where there are any.
        """
        parser = json.dumps(prompt.parser).encode("utf-8")
        data = _checks.text("text", text).encode("utf-8")
        message: dict[str, Any] = json.loads(
            call_text(lib.hsk_chat_parse, parser, len(parser), data, len(data), int(partial))
        )
        return message

    def close(self) -> None:
        """Frees the template; rendering raises ClosedError afterwards."""
        self._handle.close()
