"""Deterministic automata over characters: how patterns, formats, lengths and numbers hold together."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from hoshikage_core.json_schema import charsets
from hoshikage_core.json_schema.charsets import Ranges

N_STATES_MAX = 6_000
WORK_MAX = 5_000_000  # of about half a microsecond each, for one schema
_STATE_WORK = 8
_RANGE_WORK = 4

R = TypeVar("R")
State = TypeVar("State", bound=Hashable)
Step = Callable[[State], Iterable[tuple[Ranges, State]]]


class TooManyStatesError(Exception):
    """The automaton would be larger than what is sensible as a grammar, or take too long to make."""


@dataclass
class Meter:
    """The work of a schema, or of several, and what came of it."""

    limit: int = WORK_MAX
    n_nodes: int = 0
    made: dict[Hashable, Any] = field(default_factory=dict)


_work: ContextVar[Meter | None] = ContextVar("work", default=None)


@contextlib.contextmanager
def metered(limit: int = WORK_MAX) -> Iterator[Meter]:
    """Bounds the work of what is made inside. It is none of what it is inside of: `spend` puts it on that's meter."""
    meter = Meter(limit)
    token = _work.set(meter)
    try:
        yield meter
    finally:
        _work.reset(token)


def spend(n_nodes: int) -> None:
    """Puts work on the meter; looking at a node of an automaton is 1.

    Raises:
        TooManyStatesError: It was too much.
    """
    meter = _work.get()
    if meter is not None:
        meter.n_nodes += n_nodes
        if meter.n_nodes > meter.limit:
            raise TooManyStatesError


def remembered(n_kept: int) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Keeps results of a function, and what they cost: nothing depends on whether one was kept.

    What one schema asks for several times costs it once.
    """

    def decorate(make: Callable[..., R]) -> Callable[..., R]:
        @functools.lru_cache(maxsize=n_kept)
        def measured(*arguments: Any) -> tuple[R | None, int]:
            with metered() as meter:
                try:
                    return make(*arguments), meter.n_nodes
                except TooManyStatesError:
                    return None, max(meter.n_nodes, WORK_MAX // 4)

        @functools.wraps(make)
        def remembering(*arguments: Any) -> R:
            meter = _work.get()
            key = (make, arguments)
            if meter is not None and key in meter.made:
                return cast(R, meter.made[key])
            spend(0)
            made, cost = measured(*arguments)
            spend(cost)
            if made is None:
                raise TooManyStatesError
            if meter is not None:
                meter.made[key] = made
            return made

        return remembering

    return decorate


@dataclass(frozen=True)
class Dfa:
    """A trimmed automaton; state 0 is the start, and every state leads to an accepting one.

    Attributes:
        edges: For each state where which characters lead; the characters of a state's edges are disjoint.
        accepts: For each state whether a text may end there.
    """

    edges: tuple[tuple[tuple[Ranges, int], ...], ...]
    accepts: tuple[bool, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it accepts nothing at all."""
        return not self.edges


def explore(start: State, step: Step[State], accepts: Callable[[State], bool]) -> Dfa:
    """The automaton of all states that can be reached.

    Raises:
        TooManyStatesError: There are more than ``N_STATES_MAX``.
    """
    numbers = {start: 0}
    edges: list[dict[int, Ranges]] = []
    queue = deque([start])
    while queue:
        targets: dict[int, list[tuple[int, int]]] = {}
        for ranges, target in step(queue.popleft()):
            if target not in numbers:
                if len(numbers) == N_STATES_MAX:
                    raise TooManyStatesError
                numbers[target] = len(numbers)
                queue.append(target)
            targets.setdefault(numbers[target], []).extend(ranges)
        spend(_STATE_WORK * (1 + len(targets)) + _RANGE_WORK * sum(map(len, targets.values())))
        edges.append({target: charsets.union(ranges) for target, ranges in targets.items()})
    return _trim(edges, [accepts(state) for state in numbers])


def intersect(automata: Sequence[Dfa], min_length: int = 0, max_length: int | None = None) -> Dfa:
    """What all accept, of ``min_length`` to ``max_length`` characters.

    Raises:
        TooManyStatesError: The result is too large.
    """
    product = automata[0]
    for other in automata[1:]:
        product = _product(product, other)
    low, high = _lengths(product)
    if max_length is not None and high is not None and high <= max_length:
        max_length = None
    if low >= min_length:
        min_length = 0
    if min_length == 0 and max_length is None:
        return product
    return _cut(product, min_length, max_length)


def complement(dfa: Dfa) -> Dfa:
    """What an automaton does not accept."""

    def step(state: int | None) -> Iterable[tuple[Ranges, int | None]]:
        edges = dfa.edges[state] if state is not None else ()
        yield from edges
        if others := charsets.complement(charsets.union(pair for ranges, _ in edges for pair in ranges)):
            yield others, None

    return explore(None if dfa.is_empty else 0, step, lambda state: state is None or not dfa.accepts[state])


def _product(left: Dfa, right: Dfa) -> Dfa:
    if left.is_empty or right.is_empty:
        return Dfa((), ())

    def step(state: tuple[int, int]) -> Iterable[tuple[Ranges, tuple[int, int]]]:
        for left_ranges, left_target in left.edges[state[0]]:
            for right_ranges, right_target in right.edges[state[1]]:
                if both := charsets.intersection(left_ranges, right_ranges):
                    yield both, (left_target, right_target)

    return explore((0, 0), step, lambda state: left.accepts[state[0]] and right.accepts[state[1]])


def _cut(dfa: Dfa, min_length: int, max_length: int | None) -> Dfa:
    if dfa.is_empty:
        return dfa
    counted_to = min_length if max_length is None else max_length

    def step(state: tuple[int, int]) -> Iterable[tuple[Ranges, tuple[int, int]]]:
        if max_length is None or state[1] < max_length:
            for ranges, target in dfa.edges[state[0]]:
                yield ranges, (target, min(state[1] + 1, counted_to))

    return explore((0, 0), step, lambda state: dfa.accepts[state[0]] and state[1] >= min_length)


def _lengths(dfa: Dfa) -> tuple[int, int | None]:
    """The length of the shortest and of the longest text; None when there is no longest."""
    if dfa.is_empty:
        return 0, 0
    shortest = {0: 0}
    queue = deque([0])
    while queue:
        state = queue.popleft()
        for _, target in dfa.edges[state]:
            if target not in shortest:
                shortest[target] = shortest[state] + 1
                queue.append(target)
    low = min(length for state, length in shortest.items() if dfa.accepts[state])
    n_incoming = [0] * len(dfa.edges)
    for edges in dfa.edges:
        for _, target in edges:
            n_incoming[target] += 1
    longest = [0] * len(dfa.edges)
    ready = [state for state, n in enumerate(n_incoming) if n == 0]
    n_done = 0
    while ready:
        state = ready.pop()
        n_done += 1
        for _, target in dfa.edges[state]:
            longest[target] = max(longest[target], longest[state] + 1)
            n_incoming[target] -= 1
            if n_incoming[target] == 0:
                ready.append(target)
    return low, max(longest) if n_done == len(dfa.edges) else None


def _trim(edges: list[dict[int, Ranges]], accepts: list[bool]) -> Dfa:
    """Leaves out the states from which no accepting one can be reached."""
    sources: list[list[int]] = [[] for _ in edges]
    for state, targets in enumerate(edges):
        for target in targets:
            sources[target].append(state)
    alive = {state for state, is_accepting in enumerate(accepts) if is_accepting}
    queue = list(alive)
    while queue:
        for source in sources[queue.pop()]:
            if source not in alive:
                alive.add(source)
                queue.append(source)
    if 0 not in alive:
        return Dfa((), ())
    return _merge([{t: r for t, r in targets.items() if t in alive} for targets in edges], accepts, sorted(alive))


def _merge(edges: list[dict[int, Ranges]], accepts: list[bool], states: list[int]) -> Dfa:
    """Makes one of states from which the same texts lead to an end.

    States are compared by what they lead to, those first that lead the least far: enough where nothing repeats, and
    that is where automata are large (numbers, lengths). Loops are compared as they are.
    """
    same: dict[int, int] = {}
    known: dict[tuple[bool, frozenset[tuple[int, Ranges]]], int] = {}
    for state in _last_first(edges, states):
        targets: dict[int, list[tuple[int, int]]] = {}
        for target, ranges in edges[state].items():
            targets.setdefault(same.get(target, target), []).extend(ranges)
        edges[state] = {target: charsets.union(ranges) for target, ranges in targets.items()}
        same[state] = known.setdefault((accepts[state], frozenset(edges[state].items())), state)
    numbers: dict[int, int] = {same[0]: 0}
    for state in states:
        numbers.setdefault(same[state], len(numbers))
    return Dfa(
        tuple(tuple((ranges, numbers[same[target]]) for target, ranges in edges[state].items()) for state in numbers),
        tuple(accepts[state] for state in numbers),
    )


def _last_first(edges: list[dict[int, Ranges]], states: list[int]) -> list[int]:
    """States in an order in which each comes after those that it leads to, as far as loops allow."""
    order: list[int] = []
    seen: set[int] = set()
    for root in states:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(edges[root]))]
        while stack:
            state, following = stack[-1]
            target = next((target for target in following if target not in seen), None)
            if target is None:
                order.append(state)
                stack.pop()
            else:
                seen.add(target)
                stack.append((target, iter(edges[target])))
    return order
