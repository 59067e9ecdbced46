"""What an answer has to look like."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ReasoningFormat = Literal["none", "auto", "deepseek", "deepseek-legacy"]


class Form(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer has to look like, and what a chat template is told besides the messages.

    Attributes:
        json_schema: What it must match.
        grammar: GBNF it must match; excludes `json_schema` and `tools`.
        tools: As in OpenAI's chat API.
        tool_choice: Whether it may, must or must not call a tool.
        tool_name: The only tool it may call.
        parallel_tool_calls: Whether it may call several; None: as the template likes it.
        continues_message: The last message is the beginning of the answer.
        enable_thinking: Whether a reasoning model reasons; None: as its template likes it.
        reasoning_format: How reasoning is told from content; llama.cpp's names.
        thinking_budget: Tokens of reasoning at most.
        template_kwargs: More variables for the template.
    """

    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Literal["auto", "required", "none"] = "auto"
    tool_name: str | None = None
    parallel_tool_calls: bool | None = None
    continues_message: bool = False
    enable_thinking: bool | None = None
    reasoning_format: ReasoningFormat = "auto"
    thinking_budget: int | None = None
    template_kwargs: dict[str, Any] = {}
