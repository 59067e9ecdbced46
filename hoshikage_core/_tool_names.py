"""Names of tools that rules of llama.cpp can have: it makes one of each tool, and others of its own that look alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_NO_RULE_CHARS = re.compile("[^A-Za-z0-9-]+")
# "tool-call" begins a call, "tool-NAME-schema" holds NAME's arguments, and "tool-NAME-arg-PROPERTY" one of them.
_TAKEN = re.compile(r"^calls?\b|-(schema|arg)\b")


def aliases(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Other names for tools whose own ones cannot all be rules: by alias, the name."""
    names = [tool["function"]["name"] for tool in tools]
    rules = [_rule(name) for name in names]
    if len(set(rules)) == len(rules) and not any(map(_TAKEN.search, rules)):
        return {}
    import hashlib  # takes long to import, and is seldom needed

    # No text of a request holds it by chance: it is put back wherever it stands.
    mark = hashlib.blake2b("\n".join(names).encode("utf-8"), digest_size=8).hexdigest()
    return {f"hsk{mark}n{index}e": name for index, name in enumerate(names)}


def has_twin_arguments(tool: Mapping[str, Any]) -> bool:
    """Whether two arguments of a tool would have one rule, in formats that have a rule for each."""
    rules = [_rule(name) for name in tool["function"]["parameters"].get("properties", ())]
    return len(set(rules)) < len(rules)


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """What llama.cpp made of tools, with their own names in its texts; rules keep the other ones."""
    if not names:
        return value
    if isinstance(value, str):
        for alias, name in names.items():
            value = value.replace(alias, name)
        return value
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "name" else renamed(item, names) for key, item in value.items()}
    return value


def _rule(name: str) -> str:
    return _NO_RULE_CHARS.sub("-", name)
