"""Patterns as automata: Thompson's construction, then the sets of states that a text can lead to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import charsets, regex
from hoshikage_core.json_schema.automaton import Dfa, complement, explore, intersect, remembered, spend
from hoshikage_core.json_schema.charsets import Ranges
from hoshikage_core.json_schema.regex import Anchor, Choice, Node, RegexError, Repeat, Sequence

_N_NODES_MAX = 20_000
_CHAR_WORK = 20


@remembered(256)
def compile_pattern(pattern: str) -> Dfa:
    """The texts in which a pattern is found.

    Raises:
        RegexError: It is malformed, or uses what is no regular language or differs between dialects.
        TooManyStatesError: Its automaton is too large.
    """
    spend(_CHAR_WORK * len(pattern))
    tree, looks = regex.parse(pattern)
    automata = [_determinize(tree)]
    for look in looks:
        found = _determinize(look.part)
        automata.append(complement(found) if look.is_negative else found)
    return intersect(automata)


class _Nfa:
    """Thompson's construction; an edge without characters may demand the text's begin or end."""

    def __init__(self) -> None:
        self.chars: list[tuple[Ranges, int] | None] = []
        self.free: list[list[tuple[Literal["", "begin", "end"], int]]] = []

    def node(self) -> int:
        if len(self.free) == _N_NODES_MAX:
            raise RegexError(Reason("regex_too_large", "cannot be enforced: it is too large"))
        self.chars.append(None)
        self.free.append([])
        return len(self.free) - 1

    def build(self, tree: Node, begin: int) -> int:
        """Adds what the tree matches behind a node; returns the node where that ends."""
        if isinstance(tree, Sequence):
            for part in tree.parts:
                begin = self.build(part, begin)
            return begin
        if isinstance(tree, Repeat):
            return self._repeat(tree, begin)
        end = self.node()
        if isinstance(tree, Choice):
            for option in tree.options:
                first = self.node()
                self.free[begin].append(("", first))
                self.free[self.build(option, first)].append(("", end))
        elif isinstance(tree, Anchor):
            self.free[begin].append((tree.where, end))
        else:
            # A node has one edge with characters at most: a new node for each.
            first = self.node()
            self.free[begin].append(("", first))
            self.chars[first] = (tree.ranges, end)
        return end

    def _repeat(self, tree: Repeat, begin: int) -> int:
        for _ in range(tree.low):
            begin = self.build(tree.part, begin)
        if tree.high is None:
            loop, end = self.node(), self.node()
            self.free[begin].append(("", loop))
            self.free[self.build(tree.part, loop)].append(("", loop))
            self.free[loop].append(("", end))
            return end
        end = self.node()
        for _ in range(tree.high - tree.low):
            self.free[begin].append(("", end))
            begin = self.build(tree.part, begin)
        self.free[begin].append(("", end))
        return end


_States = frozenset[int]


def _determinize(tree: Node) -> Dfa:
    nfa = _Nfa()
    # "Is found" means: anything, the pattern, anything.
    skip = nfa.node()
    loop = nfa.node()
    nfa.chars[skip] = (charsets.ANY, loop)
    nfa.free[loop].append(("", skip))
    start = nfa.node()
    nfa.free[start].append(("", skip))
    begin = nfa.node()
    nfa.free[start].append(("", begin))
    nfa.free[loop].append(("", begin))
    final = nfa.build(tree, begin)
    rest = nfa.node()
    nfa.free[final].append(("", rest))
    nfa.chars[rest] = (charsets.ANY, rest)

    def closure(nodes: Iterable[int], *, at_begin: bool = False, at_end: bool = False) -> _States:
        seen = set(nodes)
        queue = list(seen)
        while queue:
            for demand, target in nfa.free[queue.pop()]:
                if target in seen or (demand == "begin" and not at_begin) or (demand == "end" and not at_end):
                    continue
                seen.add(target)
                queue.append(target)
        spend(len(seen))
        return frozenset(seen)

    def step(state: tuple[_States, bool]) -> Iterable[tuple[Ranges, tuple[_States, bool]]]:
        nodes = state[0]
        if rest in nodes:
            # Found: nothing that follows changes that.
            return [(charsets.ANY, (frozenset([final, rest]), False))]
        spend(len(nodes))
        edges = [edge for node in nodes if (edge := nfa.chars[node]) is not None]
        return [(ranges, (closure(targets), False)) for ranges, targets in _split(edges)]

    def accepts(state: tuple[_States, bool]) -> bool:
        return final in closure(state[0], at_begin=state[1], at_end=True)

    return explore((closure([start], at_begin=True), True), step, accepts)


def _split(edges: Iterable[tuple[Ranges, int]]) -> Iterable[tuple[Ranges, frozenset[int]]]:
    """Sorts characters by the set of all edges that take them."""
    begins: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for ranges, target in edges:
        for low, high in ranges:
            begins.setdefault(low, []).append(target)
            ends.setdefault(high + 1, []).append(target)
    active: dict[int, int] = {}
    pieces: dict[frozenset[int], list[tuple[int, int]]] = {}
    cuts = sorted({*begins, *ends})
    for low, high in itertools.pairwise(cuts):
        for target in ends.get(low, ()):
            active[target] -= 1
            if not active[target]:
                del active[target]
        for target in begins.get(low, ()):
            active[target] = active.get(target, 0) + 1
        if active:
            pieces.setdefault(frozenset(active), []).append((low, high - 1))
    return [(charsets.union(ranges), targets) for targets, ranges in pieces.items()]
