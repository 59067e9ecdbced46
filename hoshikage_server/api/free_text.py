"""Custom tools take free text. For a model they are functions with one string, `{"input": "..."}`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NamedTuple

import gevent
import msgspec
from msgspec import Meta

from hoshikage_server.api.lark import LarkError, as_regex, is_balanced
from hoshikage_server.engines.sampling import Text
from hoshikage_server.errors import RequestError
from hoshikage_server.messages import said

FIELD = "input"
Syntax = Literal["lark", "regex"]
Definition = Annotated[Text, Meta(max_length=20_000)]
_OPENING = f'{{"{FIELD}":"'
_BEGIN = re.compile(rf'\s*\{{\s*"{FIELD}"\s*:\s*"')
# As many whole characters as there are. The first half of a surrogate pair waits for what follows it.
_WHOLE = re.compile(
    r'(?:[^"\\]'
    r'|\\["\\/bfnrt]'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F]))"
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4})*"
)
_HALF = re.compile("[\ud800-\udfff]")


class TextGrammar(NamedTuple):
    """What a tool's text has to look like.

    Attributes:
        syntax: How that is written.
        definition: The grammar.
    """

    syntax: Syntax
    definition: str


def as_function(name: str, description: str | None, grammar: TextGrammar | None, param: str) -> dict[str, Any]:
    """A custom tool as a function; its text is bound to the grammar.

    Args:
        name: The tool's.
        description: What it is for.
        grammar: What its text looks like, if that is not free.
        param: The grammar's field in the request.

    Raises:
        RequestError: The grammar cannot be enforced.
    """
    text: dict[str, Any] = {"type": "string"}
    told = [description] if description else []
    if grammar is not None:
        told.append(f"The input matches this {grammar.syntax} grammar:\n{grammar.definition}")
        text["pattern"] = f"^(?:{_regex(grammar, param)})$"
    parameters = {"type": "object", "properties": {FIELD: text}, "required": [FIELD], "additionalProperties": False}
    return {"name": name, "description": "\n\n".join(told), "parameters": parameters, "strict": True}


def as_arguments(text: str) -> str:
    """The arguments of a function that takes this text."""
    return msgspec.json.encode({FIELD: text}).decode()


def _regex(grammar: TextGrammar, param: str) -> str:
    if grammar.syntax == "regex":
        if not is_balanced(grammar.definition):
            reason = said("reason_no_regex", why=said("reason_regex_unbalanced"))
            raise RequestError("invalid_tool_grammar", param=param, reason=reason)
        return grammar.definition
    gevent.sleep(0)  # others get their turn: a request may have hundreds of these, which take milliseconds each
    try:
        return as_regex(grammar.definition)
    except LarkError as error:
        raise RequestError("invalid_tool_grammar", param=param, reason=error.reason) from None


def text_of(arguments: str) -> str:
    """The text that whole arguments hold."""
    text = FreeText()
    text.feed(arguments)
    text.finish()
    return text.text


class FreeText:
    """Arguments, arriving in any pieces, as the text they hold. What is no such object is taken as it is.

    Attributes:
        text: All of it so far.
    """

    def __init__(self) -> None:
        self.text = ""
        self._rest = ""  # what cannot be told yet
        self._is_begun = False

    def feed(self, arguments: str) -> str:
        """More of the arguments; returns what they add to the text."""
        self._rest += arguments
        if not self._is_begun:
            begin = _BEGIN.match(self._rest)
            if begin is None:
                return ""
            self._is_begun, self._rest = True, self._rest[begin.end() :]
        whole = _WHOLE.match(self._rest)
        assert whole is not None
        self._rest = self._rest[whole.end() :]
        written: str = json.loads(f'"{whole[0]}"', strict=False)  # a model may write line breaks as they are
        added = _HALF.sub("\N{REPLACEMENT CHARACTER}", written)
        self.text += added
        return added

    def finish(self) -> str:
        """The arguments are whole (or cut); returns what is still to be added to the text."""
        if self._is_begun or _OPENING.startswith("".join(self._rest.split())):  # cut before the text
            return ""
        self.text = self._rest
        return self.text
