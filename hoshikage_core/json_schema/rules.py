"""GBNF text: rules under names that follow from what they say, so that equal rules of any schemas are one."""

from __future__ import annotations

from hoshikage_core.json_schema.charsets import Ranges

NAME_MARK = "\x01"
"""Begins each rule name until ``complete_grammar`` knows a prefix that is free; no GBNF text of ours holds it."""

NEVER = "[^\\x00-\\UFFFFFFFF]"
"""Matches no character, nor the numbers beyond the last one that llama.cpp reads from wrong UTF-8."""

_BLOCK = 500  # llama.cpp unrolls a repetition, and takes one of more than 2,000 for endless


class Rules:
    """A set of GBNF rules that grows.

    Attributes:
        bodies: Right-hand sides by name.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}

    def add(self, body: str) -> str:
        """Adds a rule and returns its name."""
        name = NAME_MARK + digest(body)
        self.bodies[name] = body
        return name

    def times(self, name: str, low: int, high: int | None) -> str:
        """An expression for ``low`` to ``high`` (None: endless) of a rule, however many they are."""
        block = self.add(f"{name}{{{_BLOCK}}}") if max(low, high or 0) > _BLOCK else ""
        parts = [block] * (low // _BLOCK)
        if low % _BLOCK:
            parts.append(f"{name}{{{low % _BLOCK}}}")
        if high is None:
            parts.append(f"{name}*")
        elif high > low:
            parts.append(self._at_most(name, block, high - low))
        return " ".join(parts) or '""'

    def _at_most(self, name: str, block: str, high: int) -> str:
        """0 to ``high`` of a rule. Whole blocks come first, so at most two readings are alive at any character."""
        rest = f"{name}{{0,{high % _BLOCK}}}" if high % _BLOCK else '""'
        for _ in range(high // _BLOCK):
            rest = self.add(f"{name}{{0,{_BLOCK - 1}}} | {block} {rest}")
        return rest


def digest(text: str) -> str:
    """A short name for a text."""
    import hashlib  # takes long to import, and is seldom needed

    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def literal(text: str) -> str:
    """A text as GBNF."""
    return '"' + "".join(_escape(ord(char)) for char in text) + '"'


def char_class(ranges: Ranges) -> str:
    """A set of characters as GBNF.

    Always what it holds, never what it does not: llama.cpp refuses the first byte of a character when *any* character
    that begins so is excluded.
    """
    parts = [_escape(low) + (f"-{_escape(high)}" if high > low else "") for low, high in ranges]
    return f"[{''.join(parts)}]"


def _escape(code: int) -> str:
    char = chr(code)
    if char.isascii() and (char.isalnum() or char in " _.:,/"):
        return char
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
