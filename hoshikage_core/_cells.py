"""How many cells of the KV cache are taken, where sequences share some of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence as SequenceOf


class Cells:
    """A cell holds a token of all the sequences that were copied from each other there.

    What a sequence computes from some position on is a stretch of cells; a copy shares it from its beginning. Of each
    stretch as many cells are taken as the sequence holds that holds most of it. After a cut or a copy a sequence goes
    on with a stretch of its own.

    Args:
        n_held: Tokens in the KV cache by sequence id, kept up to date by others.
    """

    def __init__(self, n_held: SequenceOf[int]) -> None:
        self._n_held = n_held
        self._numbers = itertools.count()
        self._stretches = [[(next(self._numbers), 0)] for _ in n_held]  # number and position where it begins
        self._are_shared = False

    @property
    def n_taken(self) -> int:
        """Cells that hold something."""
        if not self._are_shared:
            return sum(self._n_held)
        longest: dict[int, int] = {}
        for stretches, n_held in zip(self._stretches, self._n_held, strict=True):
            for (number, begin), (_, end) in itertools.pairwise([*stretches, (0, n_held)]):
                longest[number] = max(longest.get(number, 0), min(end, n_held) - begin)
        return sum(longest.values())

    def cut(self, seq_id: int, n: int) -> None:
        """A sequence has gone back to its first n tokens."""
        self._go_on(seq_id, self._stretches[seq_id], n)

    def copy(self, source: int, target: int, n: int) -> None:
        """A sequence holds the first n tokens of another one, and nothing else."""
        self._go_on(target, self._stretches[source], n)

    def _go_on(self, seq_id: int, stretches: list[tuple[int, int]], n: int) -> None:
        self._stretches[seq_id] = [*(s for s in stretches if s[1] < n), (next(self._numbers), n)]
        self._are_shared = any(len(stretches) > 1 for stretches in self._stretches)
