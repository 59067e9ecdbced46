"""Lists with commas: the members of an object, the items of an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hoshikage_core.json_schema.automaton import spend
from hoshikage_core.json_schema.rules import Rules
from hoshikage_core.json_schema.tries import trie

COMMA = '"," space'
_RULE_WORK = 30


@dataclass(frozen=True)
class Part:
    """One that is named: a member of an object, or a value of a set.

    Attributes:
        text: What it begins with, which no other part does.
        rest: An expression for what follows; "" for nothing.
        is_required: Whether it must be there.
    """

    text: str
    rest: str = ""
    is_required: bool = False


def items(rules: Rules, first: Sequence[tuple[str, bool]], other: str, low: int, high: int | None) -> str:
    """Items that follow each other, then any number of others.

    Args:
        rules: Where rules go.
        first: Rules of the first ones, and whether each must be there; it can only be when the one before is.
        other: The rule of the others; "" for none.
        low: The least number of all; 0 where that follows from the first.
        high: The most.
    """
    n = len(first)
    tail = _others(rules, other, n, max(low - n, 0), None if high is None else high - n)
    for i in range(n - 1, -1, -1):
        spend(_RULE_WORK)
        item, is_required = first[i]
        comma = f"{COMMA} " if i else ""
        options = [] if tail is None or (high is not None and i >= high) else [f"{comma}{item} {tail}"]
        if not is_required and i >= low:
            options.append('""')
        tail = rules.add(" | ".join(options)) if options else None
    return tail or '""'


class Members:
    """Parts in their order, of which some may be missing, then any number of others.

    Which part comes next is said by tries of all that may. Those of neighbours are made once, in blocks of 1, 2, 4, ...
    and shared: so 5,000 optional members are some 60,000 rules, and never more than a few ways on at a time.

    Args:
        rules: Where rules go.
        parts: The parts.
        other: The rule of the others; "" for none.
        low: The least number of all; 0 where that follows from the parts.
        high: The most.
    """

    def __init__(self, rules: Rules, parts: Sequence[Part], other: str, low: int, high: int | None) -> None:
        self._rules = rules
        self._parts = parts
        self._other = other
        self._low = low
        self._high = high
        # Without counting, 1 stands for all numbers from 1 on.
        self._cap = 1 if low == 0 and high is None else max(low, 1) if high is None else max(low, high, 1)
        self._tails: dict[tuple[int, int], str | None] = {}
        self._blocks: dict[tuple[int, int, int], str] = {}

    def rule(self) -> str:
        """An expression for all of it."""
        end = len(self._parts)
        last = end  # the first required one from i on, or the end
        for i in range(end, -1, -1):
            if i < end and self._parts[i].is_required:
                last = i
            for n in range(1, min(i, self._cap) + 1) if i else (0,):
                self._tails[i, n] = self._tail(i, last, n)
        return self._tails[0, 0] or '""'

    def _tail(self, i: int, last: int, n: int) -> str | None:
        """What may follow when the parts before `i` were passed, and `n` are there."""
        spend(_RULE_WORK)
        comma = f"{COMMA} " if n else ""
        options = [f"{comma}{block}" for block in self._next(i, min(last + 1, len(self._parts)), n)]
        if last == len(self._parts):
            high = None if self._high is None else self._high - n
            others = _others(self._rules, self._other, n, max(self._low - n, 0), high)
            options += [] if others is None else [others]
        return self._rules.add(" | ".join(options)) if options else None

    def _next(self, begin: int, end: int, n: int) -> list[str]:
        """Expressions for one of the parts from `begin` to `end`, with all that follows."""
        if self._high is not None and n >= self._high:
            return []
        blocks = []
        while begin < end:
            size = begin & -begin or 1 << end.bit_length()
            while begin + size > end:
                size //= 2
            blocks.append(self._block(begin, begin + size, n))
            begin += size
        return [block for block in blocks if block]

    def _block(self, begin: int, end: int, n: int) -> str:
        key = (begin, end, n)
        if key not in self._blocks:
            texts = {}
            for i in range(begin, end):
                tail = self._tails[i + 1, min(n + 1, self._cap)]
                if tail is not None:
                    texts[self._parts[i].text] = self._after(i, tail)
            self._blocks[key] = trie(self._rules, texts) if texts else ""
        return self._blocks[key]

    def _after(self, i: int, tail: str) -> str:
        return self._rules.add(f"{self._parts[i].rest} {tail}".lstrip())


def _others(rules: Rules, other: str, n: int, low: int, high: int | None) -> str | None:
    """From `low` to `high` others after `n` that are there; None where that cannot be."""
    if not other or high == 0:
        return '""' if low == 0 else None
    if high is not None and high < low:
        return None
    following = rules.add(f"{COMMA} {other}")
    if n:
        return rules.times(following, low, high)
    list_of = f"{other} {rules.times(following, max(low - 1, 0), None if high is None else high - 1)}"
    return list_of if low else f"({list_of})?"
