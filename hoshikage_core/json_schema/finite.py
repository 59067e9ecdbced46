"""Which places of a document have a value at all: a required property that holds its own kind never ends."""

from __future__ import annotations

from hoshikage_core.json_schema.gather import Gatherer
from hoshikage_core.json_schema.shapes import Array, Object, Place, Shape, key_of


class Finite:
    """Knows which shapes can be finished, for all places that can be reached from a first one."""

    def __init__(self, gatherer: Gatherer, root: Place) -> None:
        self._gatherer = gatherer
        self._finite: set[tuple[int, ...]] = set()
        self._find(root)

    def place(self, place: Place) -> bool:
        """Whether some value at a place can be finished."""
        return key_of(place) in self._finite

    def shape(self, shape: Shape) -> bool:
        """Whether some value of a shape can be finished."""
        if isinstance(shape, Object):
            if not all(self.place(member.place) for member in shape.members if member.is_required):
                return False
            n_possible = sum(self.place(member.place) for member in shape.members)
            return n_possible >= shape.min_members or (shape.others is not None and self.place(shape.others))
        if isinstance(shape, Array):
            sure = shape.first[: shape.min_items]
            has_rest = shape.min_items <= len(shape.first) or (shape.others is not None and self.place(shape.others))
            return has_rest and all(map(self.place, sure))
        return True

    def _find(self, root: Place) -> None:
        """Marks places until nothing changes: each is looked at again when one that it depends on was marked."""
        users: dict[tuple[int, ...], list[Place]] = {}
        queue = [root]
        seen = {key_of(root)}
        order = []
        while queue:
            place = queue.pop()
            order.append(place)
            for shape in self._gatherer.shapes(place):
                for part in parts(shape):
                    users.setdefault(key_of(part), []).append(place)
                    if key_of(part) not in seen:
                        seen.add(key_of(part))
                        queue.append(part)
        while order:
            place = order.pop()
            if not self.place(place) and any(map(self.shape, self._gatherer.shapes(place))):
                self._finite.add(key_of(place))
                order += users.get(key_of(place), ())


def parts(shape: Shape) -> list[Place]:
    """The places that a shape has in it."""
    if isinstance(shape, Object):
        return [*(member.place for member in shape.members), *(() if shape.others is None else (shape.others,))]
    if isinstance(shape, Array):
        return [*shape.first, *(() if shape.others is None else (shape.others,))]
    return []
