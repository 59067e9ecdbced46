"""How a chat request that is refused is written down: what is wrong with it, and the `code` and `param` that say so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bodies import CALL, GOOD, TOOL

SCHEMA = {"type": "object"}
USER = {"role": "user", "content": "x"}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": CALL["id"], "content": "r"}
LEGACY_CALL = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
DEEP = b"[" * 100_000


@dataclass(frozen=True)
class Bad:
    """A body that is refused."""

    body: bytes
    code: str | None
    param: str | None

    def __str__(self) -> str:
        return f"{self.param}-{self.code}-{self.body[:60]!r}"


def bad(body: object, code: str | None, param: str | None) -> Bad:
    return Bad(body if isinstance(body, bytes) else json.dumps(body).encode(), code, param)


def field(name: str, value: object, code: str | None, param: str | None = None, **others: object) -> Bad:
    """A good body but for one field."""
    return bad({**GOOD, **others, name: value}, code, param or name)


def raw(fields: str | bytes, code: str | None, param: str | None) -> Bad:
    """A good body with more fields, as they are written."""
    more = fields if isinstance(fields, bytes) else fields.encode()
    return Bad(json.dumps(GOOD).encode()[:-1] + b", " + more + b"}", code, param)


def message(code: str | None, param: str, **fields: object) -> Bad:
    """A message after a good one."""
    return bad({**GOOD, "messages": [*GOOD["messages"], fields]}, code, f"messages[1]{param}")


def call(code: str | None, param: str, **fields: object) -> Bad:
    """An assistant's message with one call."""
    return message(code, param, role="assistant", tool_calls=[fields])


def tool(code: str | None, param: str, **function: object) -> Bad:
    return field("tools", [{"type": "function", "function": function}], code, f"tools[0].function{param}")


def custom(code: str | None, where: str, **fields: object) -> Bad:
    """A custom tool beside a function, in a request's tools."""
    return field("tools", [TOOL, {"type": "custom", "custom": fields}], code, f"tools[1].custom{where}")


def grammar(syntax: str, definition: str) -> dict[str, object]:
    """The format of a custom tool."""
    return {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}


def choice(code: str | None, param: str, value: object) -> Bad:
    return field("tool_choice", value, code, f"tool_choice{param}", tools=[TOOL])


def shape(code: str | None, param: str, value: object) -> Bad:
    return field("response_format", value, code, f"response_format{param}")


def schema(code: str | None, param: str, **fields: object) -> Bad:
    return shape(code, f".json_schema{param}", {"type": "json_schema", "json_schema": fields})


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def history(code: str | None, param: str, *messages: dict[str, Any]) -> Bad:
    return bad({"model": "m", "messages": list(messages)}, code, param)
