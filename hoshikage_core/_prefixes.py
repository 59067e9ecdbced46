"""What ended sequences have left behind, so that a prompt that begins like one of them need not be computed again."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._saved import Bed, InFile, InMemory, Saved, SleepingPrefix
from hoshikage_core.errors import ContextFullError, HoshikageError

_N_SAVED_MIN = 16  # fewer tokens are computed as fast as they are copied
_ANY = 2**63


class Prefixes:
    """The tokens that the KV cache still holds of sequences that have ended, and copies of others in host memory.

    Under the engine's lock.

    Args:
        context: The native context.
        n_ctx: Tokens that it holds.
        n_held: Tokens in the KV cache by sequence id, those of ended sequences included.
        can_cut: Whether the model's memory can go back to any position; else only what it holds whole is of use.
        room_bytes: Host memory for copies at most.
    """

    def __init__(self, context: Handle, n_ctx: int, n_held: list[int], *, can_cut: bool, room_bytes: int) -> None:
        self._context = context
        self._n_ctx = n_ctx
        self._n_held = n_held
        self._can_cut = can_cut
        self._room_bytes = room_bytes
        self._kept: dict[int, list[int]] = {}  # by sequence id, the least recently used first
        self._saved: list[Saved] = []  # the same

    @property
    def n_free(self) -> int:
        """Tokens that the KV cache has room for."""
        return max(0, self._n_ctx - sum(self._n_held))

    def make_room(self, n_wanted: int) -> int:
        """Removes what was least recently used until so many tokens fit, as far as possible; returns how many do."""
        while (n_free := self.n_free) < n_wanted and self._kept:
            self._leave(next(iter(self._kept)), 0)
        return n_free

    def keep(self, seq_id: int, tokens: SequenceOf[int]) -> None:
        """Takes over what an ended sequence holds: the first of its tokens."""
        end = ffi.new("int32_t *")
        with self._context as context:
            call(lib.hsk_sequence_end_get, context, seq_id, end)
        if 0 < end[0] == self._n_held[seq_id] <= len(tokens):
            self._kept[seq_id] = list(tokens[: end[0]])
        else:
            self.forget(seq_id)

    def forget(self, seq_id: int) -> None:
        """Removes what a sequence has left in the KV cache."""
        self._kept.pop(seq_id, None)
        with self._context as context:
            call(lib.hsk_sequence_remove, context, seq_id, -1, -1)
        self._n_held[seq_id] = 0

    def take(self, tokens: list[int], free: Iterable[int]) -> int:
        """Gives a new sequence its id; `n_held` says how many of its first tokens need not be computed.

        At least the last token has to be, for its logits.

        Args:
            tokens: The new sequence's.
            free: The ids that no living sequence has; at least one.
        """
        ids = list(free)
        wanted = tokens[:-1]
        worth = {seq_id: self._common(kept, wanted) for seq_id, kept in self._kept.items() if seq_id in ids}
        best = max(worth, key=lambda seq_id: worth[seq_id], default=None)
        n_best = 0 if best is None else worth[best]
        saved = max(self._saved, key=lambda saved: self._common(saved.tokens, wanted), default=None)
        empty = next((seq_id for seq_id in ids if seq_id not in self._kept), None)
        oldest = next((seq_id for seq_id in self._kept if seq_id in ids), None)
        other = oldest if empty is None else empty
        assert other is not None
        if saved is not None and self._common(saved.tokens, wanted) > n_best:
            self._restore(other, saved, self._common(saved.tokens, wanted))
            return other
        # Cutting off more than there is to gain: better beside it, where there is room.
        if best is None or n_best == 0 or (empty is not None and len(self._kept[best]) - n_best > n_best):
            self._leave(other, 0)
            return other
        self._leave(best, n_best)
        return best

    def lie_down(self, bed: Bed, s_per_token: float) -> tuple[SleepingPrefix, ...]:
        """Puts all there is into a file, what was used last first; the engine is of no use afterwards.

        Args:
            bed: The file.
            s_per_token: How long a token takes to compute.
        """
        before = [saved.place for saved in self._saved if isinstance(saved, InFile)]
        taken: list[list[int]] = []

        def put(saved: Saved | None) -> bool:
            if saved is None or any(count_common(other, saved.tokens) == len(saved.tokens) for other in taken):
                return True
            taken.append(saved.tokens)
            return bed.put(saved, len(saved.tokens) * s_per_token)

        kept = reversed(self._kept.items())
        copies = (self._copy(seq_id, tokens, _ANY) for seq_id, tokens in kept if len(tokens) >= _N_SAVED_MIN)
        if all(map(put, copies)):
            all(map(put, reversed(self._saved)))
        bed.tidy(before)
        return tuple(bed.places)

    def wake(self, file: int, places: Iterable[SleepingPrefix]) -> None:
        """Takes over what another engine has put into a file; it is read where it is needed."""
        self._saved[:0] = [InFile(file, place) for place in reversed(list(places))]

    def _common(self, kept: list[int], wanted: list[int]) -> int:
        n_common = count_common(kept, wanted)
        return n_common if self._can_cut or n_common == len(kept) else 0

    def _leave(self, seq_id: int, n_stay: int) -> None:
        """Cuts what is kept under an id down to its first tokens; the whole is copied where that is worth it."""
        kept = self._kept.get(seq_id)
        if kept is None:
            return
        if len(kept) - n_stay >= _N_SAVED_MIN:
            self._save(seq_id, kept)
        del self._kept[seq_id]
        n_held = ffi.new("int32_t *")
        with self._context as context:
            call(lib.hsk_sequence_cut, context, seq_id, n_stay, n_held)
        self._n_held[seq_id] = n_held[0]

    def _save(self, seq_id: int, tokens: list[int]) -> None:
        if any(count_common(saved.tokens, tokens) == len(tokens) for saved in self._saved):
            return
        copy = self._copy(seq_id, tokens, self._room_bytes)
        if copy is not None:
            self._saved = [saved for saved in self._saved if count_common(saved.tokens, tokens) < len(saved.tokens)]
            self._add(copy)

    def _copy(self, seq_id: int, tokens: list[int], room_bytes: int) -> InMemory | None:
        size = ffi.new("size_t *")
        with self._context as context:
            call(lib.hsk_sequence_size_get, context, seq_id, size)
            if size[0] > room_bytes:
                return None
            try:
                data = ffi.new("char[]", size[0])
                call(lib.hsk_sequence_save, context, seq_id, data, size[0])
            except (HoshikageError, MemoryError):
                return None
        return InMemory(tokens, data, size[0])

    def _add(self, saved: Saved) -> None:
        self._saved.append(saved)
        while sum(saved.n_bytes_in_memory for saved in self._saved) > self._room_bytes:
            self._saved.remove(next(saved for saved in self._saved if saved.n_bytes_in_memory))

    def _restore(self, seq_id: int, saved: Saved, n_stay: int) -> None:
        self._saved.remove(saved)
        self._leave(seq_id, 0)
        self.make_room(len(saved.tokens))
        n_held = ffi.new("int32_t *")
        data = saved.load()
        if data is None:
            return
        with self._context as context:
            try:
                call(lib.hsk_sequence_restore, context, seq_id, data, saved.n_bytes)
            except ContextFullError:
                return
            call(lib.hsk_sequence_cut, context, seq_id, n_stay, n_held)
        self._n_held[seq_id] = n_held[0]
        if n_stay < len(saved.tokens):  # else it will be a part of what this sequence leaves
            self._add(saved)


def count_common(left: list[int], right: list[int]) -> int:
    """How many tokens two lists have in common at their beginnings."""
    high = min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
