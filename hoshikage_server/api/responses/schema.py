"""The body of a request for a response. docs/responses.md says of every field what becomes of it; others pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api import schema
from hoshikage_server.api.responses import tagged
from hoshikage_server.api.responses.tools import TOOLS_MAX, ToolChoice
from hoshikage_server.api.schema import GenerateRequest, Metadata, ReasoningEffort, TokenCount, TopLogprobs, Verbosity
from hoshikage_server.api.tools import Name, require_object
from hoshikage_server.engines.sampling import INT32_MAX, Text
from hoshikage_server.errors import RequestError
from hoshikage_server.registry.persona import AnswerLanguage

ITEMS_MAX = 10_000
_LOGPROBS = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"
# What these name does not occur here: hosted tools and images.
_WITHOUT_EFFECT = frozenset(
    """
    code_interpreter_call.outputs computer_call_output.output.image_url file_search_call.results
    message.input_image.image_url web_search_call.action.sources web_search_call.results
    """.split()  # noqa: SIM905
)
_INCLUDABLE = frozenset({_LOGPROBS, _SEALED, *_WITHOUT_EFFECT})
_REFUSED = (
    *("background", "conversation", "context_management", "generate", "moderation", "prompt"),
    # Of the chat API's extensions: what has no place in a response
    *("return_progress", "timings_per_token"),
)


class _Format(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of text formats."""


class PlainFormat(_Format, frozen=True, tag="text"):
    """Any text."""


class JsonObjectFormat(_Format, frozen=True, tag="json_object"):
    """A JSON object."""


class JsonSchemaFormat(_Format, frozen=True, tag="json_schema", omit_defaults=True):
    """JSON that matches a schema."""

    name: Name
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


TextFormat = PlainFormat | JsonObjectFormat | JsonSchemaFormat


class TextConfig(msgspec.Struct, frozen=True):
    """What the text looks like."""

    format: TextFormat | None = None
    verbosity: Verbosity | None = None


class ReasoningConfig(msgspec.Struct, frozen=True):
    """How much the model thinks."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseRequest(GenerateRequest, frozen=True, kw_only=True):
    """The body of POST /v1/responses."""

    input: str | Annotated[list[msgspec.Raw], Meta(max_length=ITEMS_MAX)] | None = None
    instructions: str | None = None
    previous_response_id: Text | None = None
    store: bool | None = None
    include: list[str] | None = None
    max_output_tokens: TokenCount | None = None
    metadata: Metadata | None = None
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    tools: Annotated[list[msgspec.Raw], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: TopLogprobs | None = None
    # llama-server's and vLLM's
    chat_template_kwargs: dict[str, Any] | None = None
    thinking_budget_tokens: Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None = None
    # Hoshikage's own
    language: AnswerLanguage | None = None
    # Accepted without effect
    max_tool_calls: Annotated[int, Meta(ge=1, le=INT32_MAX)] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    # Refused
    background: Any = None
    conversation: Any = None
    context_management: Any = None
    generate: Any = None
    moderation: Any = None
    prompt: Any = None

    @property
    def n_top_logprobs(self) -> int | None:
        """How many likely tokens to tell in place of each; None: nothing of probabilities."""
        is_wanted = _LOGPROBS in (self.include or ()) or self.top_logprobs
        return (self.top_logprobs or 0) if is_wanted else None

    @property
    def seals_reasoning(self) -> bool:
        """Whether reasoning also comes as `encrypted_content`."""
        return _SEALED in (self.include or ())

    @property
    def format(self) -> TextFormat:
        """What the text looks like."""
        return (self.text and self.text.format) or PlainFormat()

    @property
    def effort(self) -> ReasoningEffort | None:
        """How much the model thinks."""
        return self.reasoning.effort if self.reasoning else None

    def form_fields(self) -> dict[str, Any]:
        """The fields of `Form`, but for those about tools.

        Raises:
            RequestError: They cannot be; `param` names one.
        """
        budget = self.thinking_budget_tokens
        variables = schema.template_variables(self.effort, self.text.verbosity if self.text else None)
        return {
            "json_schema": self._json_schema(),
            "grammar": self.grammar,
            "enable_thinking": None if self.effort is None else self.effort != "none",
            "thinking_budget": None if budget == -1 else budget,
            "template_kwargs": {**variables, **(self.chat_template_kwargs or {})},
        }

    def _json_schema(self) -> dict[str, Any] | None:
        if isinstance(self.format, JsonObjectFormat):
            return {"type": "object"}
        if isinstance(self.format, JsonSchemaFormat):
            require_object(self.format.schema, "text.format.schema")
            invalid.check_free(self.format.schema, "text.format.schema")
            return self.format.schema
        return self.json_schema


_decoder = msgspec.json.Decoder(ResponseRequest)


def decode_response(body: bytes) -> ResponseRequest:
    """Reads and checks a request, but for its items and tools.

    Raises:
        RequestError: The body is no JSON, or a field of it cannot be; `param` names the field.
    """
    request = tagged.decode(_decoder, body)
    schema.check(request)
    for name in _REFUSED:
        if getattr(request, name) not in (None, False, []):
            raise RequestError("unsupported_parameter", param=name)
    schema.check_variables(request.chat_template_kwargs)
    if request.n not in (None, 1):
        raise RequestError("unsupported_value", param="n", got=invalid.show(request.n), supported="1")
    check_include(request.include or ())
    _check_shape(request)
    return request


def check_include(names: Sequence[str]) -> None:
    """Refuses what nothing can be called that a response might include.

    Raises:
        RequestError: `param` names one.
    """
    for index, name in enumerate(names):
        if name not in _INCLUDABLE:
            supported = ", ".join(f"'{known}'" for known in sorted(_INCLUDABLE))
            raise RequestError("invalid_value", param=f"include[{index}]", got=invalid.show(name), supported=supported)


def _check_shape(request: ResponseRequest) -> None:
    """A grammar decides about every token: nothing else can decide as well."""
    others = ("grammar", "ignore_eos", "min_tokens")
    if not isinstance(request.format, PlainFormat):
        for name in (*others, "json_schema"):
            if schema.is_given(request, name):
                raise RequestError("parameters_conflict", param=name, other="text.format")
    if request.tools and request.tool_choice != "none":
        for name in others:
            schema.exclude(request, name, "tools")
