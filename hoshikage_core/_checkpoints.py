"""Where sequences can go back to, of models whose memory cannot be cut at any point."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import Any

from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._saved import Checkpoint
from hoshikage_core.errors import HoshikageError

_N_MAX = 4  # of a sequence: the first, where what many conversations share may end, and the latest


class Checkpoints:
    """The checkpoints of the sequences in the KV cache.

    They are taken at borders: positions that a later prompt is likely to part at. A piece of a prompt ends there.

    Args:
        context: The native context.
        n_held: Tokens in the KV cache by sequence id, kept up to date by others.
    """

    def __init__(self, context: Handle, n_held: SequenceOf[int]) -> None:
        self._context = context
        self._n_held = n_held
        self._of: list[list[Checkpoint]] = [[] for _ in n_held]  # by sequence id, each in the order of positions
        self._borders: dict[int, list[int]] = {}

    @property
    def n_bytes(self) -> int:
        """Host memory that they take; sequences may share some."""
        return sum({id(one.data): one.n_bytes for ones in self._of for one in ones}.values())

    def of(self, seq_id: int) -> list[Checkpoint]:
        """A sequence's, in the order of positions."""
        return self._of[seq_id]

    def last(self, seq_id: int, n: int) -> Checkpoint | None:
        """The last one that was taken of a sequence's first n tokens or fewer."""
        return next((one for one in reversed(self._of[seq_id]) if one.n_tokens <= n), None)

    def put(self, seq_id: int, checkpoints: Iterable[Checkpoint]) -> None:
        """Replaces a sequence's."""
        self._of[seq_id] = list(checkpoints)

    def cut(self, seq_id: int, n: int) -> None:
        """A sequence has gone back to its first n tokens."""
        self.put(seq_id, (one for one in self._of[seq_id] if one.n_tokens <= n))

    def drop_one(self, seq_ids: Iterable[int]) -> bool:
        """Drops a checkpoint of the first of these sequences that has some; False if none has."""
        ones = next((self._of[seq_id] for seq_id in seq_ids if self._of[seq_id]), None)
        if ones is not None:
            del ones[len(ones) > 1]
        return ones is not None

    def expect(self, seq_id: int, borders: Iterable[int]) -> None:
        """Sets where checkpoints of a sequence are to be taken."""
        self._borders.pop(seq_id, None)
        if ahead := sorted({border for border in borders if border > self._n_held[seq_id]}):
            self._borders[seq_id] = ahead

    def n_until_border(self, seq_id: int, n: int) -> int:
        """How many of a sequence's next n tokens can be computed at once."""
        borders = self._borders.get(seq_id)
        return n if borders is None else min(n, borders[0] - self._n_held[seq_id])

    def take(self, room_bytes: int) -> bool:
        """Takes a checkpoint of each sequence that has come to a border; whether there were any.

        Args:
            room_bytes: What one may take at most.
        """
        are_there = False
        for seq_id, borders in list(self._borders.items()):
            if self._n_held[seq_id] >= borders[0]:
                n_tokens = borders.pop(0)
                if self._n_held[seq_id] == n_tokens and (data := self._save(seq_id, room_bytes)):
                    self._add(seq_id, Checkpoint(n_tokens, *data))
                    are_there = True
                self.expect(seq_id, borders)
        return are_there

    def _add(self, seq_id: int, checkpoint: Checkpoint) -> None:
        ones = [one for one in self._of[seq_id] if one.n_tokens < checkpoint.n_tokens]
        if len(ones) == _N_MAX:
            del ones[1]
        self._of[seq_id] = [*ones, checkpoint]

    def _save(self, seq_id: int, room_bytes: int) -> tuple[Any, int] | None:
        size = ffi.new("size_t *")
        try:
            with self._context as context:
                call(lib.hsk_checkpoint_size_get, context, seq_id, size)
                if not 0 < size[0] <= room_bytes:
                    return None
                data = ffi.new("char[]", size[0])
                call(lib.hsk_checkpoint_save, context, seq_id, data, size[0])
        except (HoshikageError, MemoryError):
            return None
        return data, size[0]
