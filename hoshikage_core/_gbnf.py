"""GBNF as text."""

from __future__ import annotations

import re

# What a name is not in: literals, classes of characters and comments.
_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|<[^>\s]*>|\{[^}]*\}|[A-Za-z0-9][A-Za-z0-9_-]*', re.DOTALL
)


def renamed(grammar: str, prefix: str) -> str:
    """The grammar with a prefix before the name of each rule, so that it can be a part of another."""
    return _TOKEN.sub(lambda found: prefix + found[0] if found[0][0].isalnum() else found[0], grammar)
