"""Rules of ours inside a schema that llama.cpp converts: sealed into constants, which become literals of its grammar.

A sealed rule travels as ``hsk-rule:TAG:PAYLOAD``. The tag is keyed with a number of this process, so that no text of a
request can be taken for one.
"""

from __future__ import annotations

import base64
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from hoshikage_core.json_schema.automaton import spend
from hoshikage_core.json_schema.numbers import ANY_INTEGER, ANY_NUMBER
from hoshikage_core.json_schema.rules import NAME_MARK, NEVER
from hoshikage_core.json_schema.spelling import STRING_CHAR

_CHARS_OF_WORK = 3
_KEY = os.urandom(32)
_NUMBER_SIGN = -7205759403792793
_NAME = re.compile(NAME_MARK + r"([0-9a-z-]+)")
_SEALED = re.compile(r'"[\[{]?\\"hsk-rule:([0-9a-f]{32}):([A-Za-z0-9_=-]+)\\"(?:\]|:0\})?"')
_RULE = re.compile(r"^([A-Za-z0-9-]+) ::= ", re.MULTILINE)

_JSON_NUMBER = 'json-number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? (("e" | "E") [+-]? [0-9]+)?'
_TIGHTER = {
    # Lone surrogates; and a negated class keeps llama.cpp from beginning some characters byte by byte.
    r'char ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})': f"char ::= {STRING_CHAR}",
    # 1e999 is infinite; what has more than 19 digits is no id.
    'number ::= ("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?': f"number ::= {ANY_NUMBER}",
    'integer ::= ("-"? integral-part)': f"integer ::= {ANY_INTEGER}",
    'root ::= ("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?': f"root ::= {ANY_NUMBER}",
    'root ::= ("-"? integral-part)': f"root ::= {ANY_INTEGER}",
    _JSON_NUMBER: f"json-number ::= {ANY_NUMBER}",
}
"""Rules of llama.cpp that let through what is no JSON, or no number to work with; by their whole text."""

_LOOSE_STRING = r"""( [^"\\] | "\\" ( ["\\/ bfnrt] | "u" [0-9a-fA-F]{4} ) )*"""  # anywhere in a rule of a tool call

Kind = Literal["string", "number", "array", "object"]


def seal(kind: Kind, name: str, bodies: Mapping[str, str]) -> dict[str, Any]:
    """A schema that stands for a rule.

    llama.cpp decides by the schema whether a tool's argument is raw text or JSON, so it has the type that the rule's
    values have.

    Args:
        kind: What the values are.
        name: The rule.
        bodies: All rules; those that it needs go with it.
    """
    text = "\n".join([name, *(f"{needed} ::= {bodies[needed]}" for needed in _needed(name, bodies))])
    spend(len(text) // _CHARS_OF_WORK)
    payload = base64.urlsafe_b64encode(zlib.compress(text.encode("utf-8"))).decode("ascii")
    sealed = f"hsk-rule:{_tag(payload)}:{payload}"
    if kind == "string":
        return {"const": sealed}
    if kind == "array":
        return {"const": [sealed]}
    carrier = {"const": {sealed: 0}}
    # No number could hold a rule: a second constant, which nothing will match, says that it is about numbers.
    return {"anyOf": [carrier, {"const": _NUMBER_SIGN}]} if kind == "number" else carrier


def complete_grammar(grammar: str) -> str:
    """Finishes a grammar that llama.cpp made from ``enforceable()`` schemas, alone or among the rules of a tool call.

    What ``enforceable()`` sealed into the schema takes its place, and llama.cpp's loose rules for JSON are tightened.
    Both must run in the same process. A grammar that the caller of an API wrote does not belong here.
    """
    prefix = "hsk-"
    while any(name.startswith(prefix) for name in _RULE.findall(grammar)):
        prefix += "x-"
    added: dict[str, str] = {}
    roots: dict[str, str] = {}

    def unseal(match: re.Match[str]) -> str:
        tag, payload = match.groups()
        if tag != _tag(payload):
            return match.group()
        if payload in roots:
            return roots[payload]
        root, *rules = zlib.decompress(base64.urlsafe_b64decode(payload)).decode("utf-8").split("\n")
        for rule in rules:
            name, body = rule.replace(NAME_MARK, prefix).split(" ::= ", 1)
            added[name] = body
        roots[payload] = root.replace(NAME_MARK, prefix)
        return roots[payload]

    lines = [_TIGHTER.get(line, line) for line in grammar.splitlines()]
    tight = "\n".join(lines).replace(_LOOSE_STRING, f"({STRING_CHAR})*")
    text = _SEALED.sub(unseal, tight).replace(f'"{_NUMBER_SIGN}"', NEVER)
    return "\n".join([text, *(f"{name} ::= {body}" for name, body in added.items())]) + "\n"


def _needed(name: str, bodies: Mapping[str, str]) -> list[str]:
    needed = {name: None}
    queue = [name]
    while queue:
        for found in _NAME.findall(bodies[queue.pop()]):
            if NAME_MARK + found not in needed:
                needed[NAME_MARK + found] = None
                queue.append(NAME_MARK + found)
    return list(needed)


def _tag(payload: str) -> str:
    import hashlib  # takes long to import, and is seldom needed

    return hashlib.blake2b(payload.encode("ascii"), key=_KEY, digest_size=16).hexdigest()
