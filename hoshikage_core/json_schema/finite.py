"""Which places of a document have a value at all: a required property that holds its own kind never ends."""

from __future__ import annotations

from dataclasses import dataclass

from hoshikage_core.json_schema.gather import Gatherer
from hoshikage_core.json_schema.shapes import Array, Object, Place, Shape, key_of

_Key = tuple[int, ...]


@dataclass
class _Wait:
    """What a shape of a place still needs before a value of it can be finished.

    Attributes:
        n_sure: Parts that there must be.
        n_some: How many it lacks of those that there may be.
    """

    place: _Key
    shape: Shape
    n_sure: int
    n_some: int


class Finite:
    """Knows which shapes can be finished, for all places that can be reached from a first one."""

    def __init__(self, gatherer: Gatherer, root: Place) -> None:
        self._gatherer = gatherer
        self._finite: set[_Key] = set()
        self._shapes: set[int] = set()  # the gatherer keeps them
        self._find(root)

    def place(self, place: Place) -> bool:
        """Whether some value at a place can be finished."""
        return key_of(place) in self._finite

    def shape(self, shape: Shape) -> bool:
        """Whether some value of a shape, which the gatherer gave, can be finished."""
        return id(shape) in self._shapes

    def _find(self, root: Place) -> None:
        """Marks places until nothing changes; each tells those that need it once, so that the time is linear."""
        waits: dict[_Key, list[tuple[_Wait, int, int]]] = {}
        ready: list[_Wait] = []
        queue = [root]
        seen = {key_of(root)}
        while queue:
            place = queue.pop()
            for shape in self._gatherer.shapes(place):
                sure, some, n_some = _needs(shape)
                wait = _Wait(key_of(place), shape, len(sure), n_some)
                if wait.n_sure <= 0 and wait.n_some <= 0:
                    ready.append(wait)
                for part in sure:
                    waits.setdefault(key_of(part), []).append((wait, 1, 0))
                for part, weight in some:
                    waits.setdefault(key_of(part), []).append((wait, 0, weight))
                for part in parts(shape):
                    if key_of(part) not in seen:
                        seen.add(key_of(part))
                        queue.append(part)
        while ready:
            done = ready.pop()
            self._shapes.add(id(done.shape))
            if done.place in self._finite:
                continue
            self._finite.add(done.place)
            for wait, n_sure, n_some in waits.get(done.place, ()):
                was_waiting = wait.n_sure > 0 or wait.n_some > 0
                wait.n_sure -= n_sure
                wait.n_some -= n_some
                if was_waiting and wait.n_sure <= 0 and wait.n_some <= 0:
                    ready.append(wait)


def _needs(shape: Shape) -> tuple[list[Place], list[tuple[Place, int]], int]:
    """The parts that a value must have; those of which it must have some, with what each counts; and how much of it."""
    if isinstance(shape, Object):
        sure = [member.place for member in shape.members if member.is_required]
        some = [(member.place, 1) for member in shape.members]
        others = [] if shape.others is None else [(shape.others, shape.min_members)]
        return sure, some + others, shape.min_members
    if isinstance(shape, Array):
        n_rest = int(shape.min_items > len(shape.first))
        return list(shape.first[: shape.min_items]), [] if shape.others is None else [(shape.others, 1)], n_rest
    return [], [], 0


def parts(shape: Shape) -> list[Place]:
    """The places that a shape has in it."""
    if isinstance(shape, Object):
        return [*(member.place for member in shape.members), *(() if shape.others is None else (shape.others,))]
    if isinstance(shape, Array):
        return [*shape.first, *(() if shape.others is None else (shape.others,))]
    return []
