"""Alternatives that share what they begin with.

llama.cpp holds every token of the vocabulary against each alternative that may still go on: with thousands of them side
by side, one token takes many seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from hoshikage_core.json_schema.automaton import spend
from hoshikage_core.json_schema.rules import NAME_MARK, Rules, digest, literal

_TEXT_WORK = 20


def trie(rules: Rules, texts: Mapping[str, str]) -> str:
    """An expression for one of some texts, each followed by an expression of its own ("" for none)."""
    items = sorted(texts.items())
    spend(_TEXT_WORK * len(items))
    base = NAME_MARK + digest(repr(items)) + "-"

    def group(begin: int, end: int, at: int) -> str:
        """One of the items from `begin` to `end`, which are the same up to `at`, from there on."""
        first, after = items[begin]
        if end - begin == 1:
            return " ".join(filter(None, (literal(first[at:]) if first[at:] else "", after))) or '""'
        fork = _n_shared(first, items[end - 1][0])
        name = f"{base}{begin}-{end}"
        waiting.append((name, begin, end, fork))
        return f"{literal(first[at:fork])} {name}" if fork > at else name

    waiting: list[tuple[str, int, int, int]] = []
    whole = group(0, len(items), 0)
    while waiting:
        name, begin, end, fork = waiting.pop()
        options = []
        while begin < end:
            begun = begin
            char = items[begun][0][fork : fork + 1]
            while begin < end and items[begin][0][fork : fork + 1] == char:
                begin += 1
            options.append(group(begun, begin, fork))
        rules.bodies[name] = " | ".join(options)
    return whole


def _n_shared(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
