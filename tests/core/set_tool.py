"""A small tool, whose calls a tiny random model makes under its grammar."""

from __future__ import annotations

from typing import Any

USER = {"role": "user", "content": "star"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "level": {"enum": [1, 2, 3]}},
    "required": ["on", "level"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "set", "parameters": SCHEMA}}
