"""A rendered conversation: the text to compute, the grammar that binds the answer, and how to take it apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from hoshikage_core import _checks
from hoshikage_core.errors import InvalidArgumentError, Reason

TRIGGER_WORD, TRIGGER_PATTERN = 1, 2  # llama.cpp's COMMON_GRAMMAR_TRIGGER_TYPE_WORD and _PATTERN


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """A rendered conversation, and what generation and parsing need to know about it.

    Another process can go on with it: ``ChatPrompt.from_json(prompt.to_json())`` is the same prompt, and takes the same
    text apart into the same message, ids included.

    Attributes:
        prompt: The text to tokenize (with special tokens parsed).
        stops: Texts that end the answer besides the model's end tokens.
        grammar: GBNF the answer must match, or "".
        grammar_type: What the grammar is for: "tool_calls", "output_format" or "user". The first two begin with
            ``generation_prompt``, unless they are lazy.
        grammar_lazy: Whether the grammar starts only at one of ``grammar_triggers``.
        grammar_triggers: What starts a lazy grammar, in llama.cpp's form; or a call, where JSON may come instead.
        preserved_tokens: Special tokens whose text the parser must see.
        generation_prompt: The part of the prompt that already belongs to the answer.
        supports_thinking: Whether the template has a reasoning block.
        thinking_start_tag: What opens it.
        thinking_end_tags: What closes it.
        parser: What the native parser is made of.
        is_plain: The text is the content: there are no tools, reasoning or shape to take apart.
        tool_names: The tools that may be called.
        prefix_content: The beginning of the content when a message is continued; it is no part of the answer.
        id_seed: What ids of tool calls are derived from.
        id_length: Letters of a tool call's id, after its prefix "call_" unless they are 9 (Mistral's templates accept
            no other).
        borders: After how many characters a later prompt is likely to part from this one: before the last message of
            the user's, and before the answer.
        keeps_ids: Whether the template shows a call's id to the model, so that an id of the model's own must be kept.
    """

    prompt: str
    stops: tuple[str, ...] = ()
    grammar: str = ""
    grammar_type: str = "user"
    grammar_lazy: bool = False
    grammar_triggers: tuple[Mapping[str, Any], ...] = ()
    preserved_tokens: tuple[str, ...] = ()
    generation_prompt: str = ""
    supports_thinking: bool = False
    thinking_start_tag: str = ""
    thinking_end_tags: tuple[str, ...] = ()
    parser: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_plain: bool = True
    tool_names: tuple[str, ...] = ()
    prefix_content: str = ""
    id_seed: str = ""
    id_length: int = 24
    keeps_ids: bool = False
    borders: tuple[int, ...] = ()

    @property
    def call_starts(self) -> tuple[str, ...]:
        """What begins a tool call that the grammar binds, where that is a text; an empty one if the answer is calls."""
        if not self.grammar or self.grammar_type != "tool_calls":
            return ()
        if not self.grammar_triggers:
            return ("",)
        return tuple(trigger["value"] for trigger in self.grammar_triggers if trigger["type"] == TRIGGER_WORD)

    def to_json(self) -> bytes:
        """The prompt as JSON, for ``from_json`` of the same version."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    @classmethod
    def from_json(cls, data: bytes) -> ChatPrompt:
        """The prompt that ``to_json`` wrote.

        Raises:
            InvalidArgumentError: The data is something else.
        """
        try:
            values = _checks.instance("data", json.loads(data), dict, "a prompt's JSON object")
            for field in dataclasses.fields(cls):
                if isinstance(values.get(field.name), list):
                    values[field.name] = tuple(values[field.name])
            return cls(**values)
        except (TypeError, ValueError) as error:
            text = "is not what to_json() wrote: {words}"
            raise InvalidArgumentError("data", Reason("no_prompt", text, words=str(error))) from None
