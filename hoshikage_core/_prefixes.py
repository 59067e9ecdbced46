"""What sequences have computed, so that a prompt that begins like one of them need not be computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

from hoshikage_core._cells import Cells
from hoshikage_core._checkpoints import Checkpoints
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._saved import Bed, InFile, InMemory, Saved, SleepingPrefix, checkpoints_of, n_bytes_of_state
from hoshikage_core.errors import ContextFullError, HoshikageError, UnsupportedError

ANYWHERE = 2**63
"""How far back the memory of a model can go that keeps all it has computed."""

_N_SAVED_MIN = 16  # fewer tokens are computed as fast as they are copied
_NEVER = 2**63


class _Source(NamedTuple):
    """A sequence that begins like a new one.

    Attributes:
        n: How many tokens can be taken over.
        n_common: How many are the same.
        seq_id: Which it is, where it is in the KV cache.
        saved: The sequence, where it is elsewhere.
    """

    n: int
    n_common: int
    seq_id: int
    saved: Saved | None = None


class Prefixes:
    """The tokens that the KV cache holds of living and of ended sequences, and copies of others in host memory.

    Under the engine's lock.

    Args:
        context: The native context.
        n_ctx: Tokens that it holds.
        n_held: Tokens in the KV cache by sequence id, those of ended sequences included.
        n_back: How many tokens the model's memory can go back; `ANYWHERE`, a window, or none.
        room_bytes: Host memory for copies and checkpoints at most.
    """

    def __init__(self, context: Handle, n_ctx: int, n_held: list[int], *, n_back: int, room_bytes: int) -> None:
        self._context = context
        self._n_ctx = n_ctx
        self._n_held = n_held
        self._n_back = n_back
        self._room_bytes = room_bytes
        self._cells = Cells(n_held)
        self._checkpoints = Checkpoints(context, n_held)
        self._kept: dict[int, list[int]] = {}  # by sequence id, the least recently used first
        self._saved: list[Saved] = []  # the same
        self._woken: list[SleepingPrefix] = []  # what the file held at first

    @property
    def cuts_anywhere(self) -> bool:
        """Whether the model's memory can go back to any token."""
        return self._n_back == ANYWHERE

    @property
    def goes_back(self) -> bool:
        """Whether a sequence can go back to before its last tokens, without a checkpoint."""
        return self._n_back > 0

    @property
    def needs_borders(self) -> bool:
        """Whether it can go back to where a checkpoint was taken only, and there is room for some."""
        return not self.cuts_anywhere and self._room_bytes > 0

    @property
    def n_free(self) -> int:
        """Tokens that the KV cache has room for."""
        return max(0, self._n_ctx - self._cells.n_taken)

    @property
    def kept_bytes(self) -> int:
        """What is kept in host memory."""
        return sum(saved.n_bytes_in_memory for saved in self._saved) + self._checkpoints.n_bytes

    def make_room(self, n_wanted: int) -> int:
        """Removes what was least recently used until so many tokens fit, as far as possible; returns how many do."""
        while (n_free := self.n_free) < n_wanted and self._kept:
            self._leave(next(iter(self._kept)), 0)
        return n_free

    def keep(self, seq_id: int, tokens: SequenceOf[int]) -> None:
        """Takes over what an ended sequence holds: the first of its tokens."""
        end = self._end(seq_id)
        self._checkpoints.expect(seq_id, ())
        if 0 < end == self._n_held[seq_id] <= len(tokens):
            self._kept[seq_id] = list(tokens[:end])
        else:
            self.forget(seq_id)

    def forget(self, seq_id: int) -> None:
        """Removes what a sequence has left in the KV cache."""
        self._kept.pop(seq_id, None)
        self.go_back(seq_id, 0)

    def take(self, tokens: list[int], running: Mapping[int, list[int]], borders: Iterable[int] = ()) -> int:
        """Gives a new sequence its id; `n_held` says how many of its first tokens need not be computed.

        At least the last token has to be, for its logits.

        Args:
            tokens: The new sequence's.
            running: Those of the living ones by their ids; one at least must be left.
            borders: Where later sequences may part from it.
        """
        wanted = tokens[:-1]
        source, n_common = _Source(0, 0, -1), 0
        for one in self._sources(wanted, running):
            source = max(source, one, key=lambda source: source.n)
            n_common = max(n_common, one.n_common)
        if source.saved is not None:
            self._saved.remove(source.saved)
        taken = self._kept.keys() | running.keys()
        empty = next((seq_id for seq_id in range(len(self._n_held)) if seq_id not in taken), None)
        seq_id = next(iter(self._kept)) if empty is None else empty
        if source.n and source.seq_id in self._kept and not self._is_better_copied(source, empty):
            seq_id = source.seq_id
            self._leave(seq_id, source.n)
        else:
            self._leave(seq_id, 0)
            if source.saved is not None:
                self._restore(seq_id, source.saved, source.n)
            elif source.n:
                self._copy(source.seq_id, seq_id, source.n)
        if self.needs_borders:
            # Where this one parts from another, the next one may.
            borders = (border for border in (*borders, n_common) if _N_SAVED_MIN <= border < len(tokens))
            self._checkpoints.expect(seq_id, borders)
        return seq_id

    def catch_up(self, seq_id: int, tokens: list[int], others: Mapping[int, list[int]]) -> bool:
        """Copies what others have come to hold of a sequence's first tokens; False if it had better wait for more.

        Args:
            seq_id: The sequence.
            tokens: Its tokens.
            others: Those of the living ones that are computed before it, by their ids.
        """
        if not self.cuts_anywhere:
            return True
        wanted = tokens[:-1]
        alike = ((count_common(its, wanted), its_id) for its_id, its in {**self._kept, **others}.items())
        n_common, other = max(alike, default=(0, seq_id))
        n_there = min(n_common, self._n_held[other])
        if n_common - max(n_there, self._n_held[seq_id]) >= _N_SAVED_MIN:
            return False
        if n_there - self._n_held[seq_id] >= _N_SAVED_MIN:
            self._copy(other, seq_id, n_there)
        return True

    def n_at_once(self, seq_id: int, n: int) -> int:
        """How many of a sequence's next n tokens can be computed in one piece."""
        return self._checkpoints.n_until_border(seq_id, n)

    def on_computed(self) -> None:
        """Takes the checkpoints that are due after a step."""
        if self._checkpoints.take(self._room_bytes):
            self._tidy()

    def on_failed(self) -> None:
        """Takes note of what a step that failed has left of the sequences."""
        for seq_id, n_held in enumerate(self._n_held):
            if (end := self._end(seq_id)) < n_held:
                self._n_held[seq_id] = end
                self._cells.cut(seq_id, end)
                if seq_id in self._kept:
                    self.forget(seq_id)

    def go_back(self, seq_id: int, n: int) -> None:
        """Lets a sequence hold its first n tokens only, or as many of them as the model's memory can go back to."""
        n_held = ffi.new("int32_t *")
        checkpoint = None if n == 0 or n >= self._reach(seq_id) else self._checkpoints.last(seq_id, n)
        with self._context as context:
            if checkpoint is None:
                call(lib.hsk_sequence_cut, context, seq_id, n, n_held)
            else:
                try:
                    call(lib.hsk_checkpoint_restore, context, seq_id, *checkpoint)
                    n_held[0] = checkpoint.n_tokens
                except ContextFullError:
                    n_held[0] = 0
        self._n_held[seq_id] = n_held[0]
        self._cells.cut(seq_id, n_held[0])
        self._checkpoints.cut(seq_id, n_held[0])

    def lie_down(self, bed: Bed, s_per_token: float) -> tuple[SleepingPrefix, ...]:
        """Puts all there is into a file, what was used last first; the engine is of no use afterwards.

        Args:
            bed: The file.
            s_per_token: How long a token takes to compute.
        """
        put: list[list[int]] = []

        def is_new(tokens: list[int]) -> bool:
            return all(count_common(other, tokens) < len(tokens) for other in put)

        for seq_id, tokens in reversed(self._kept.items()):
            if len(tokens) >= _N_SAVED_MIN and is_new(tokens) and not bed.is_over:
                copy = self._saved_copy(seq_id, tokens, _NEVER)
                if copy is not None and bed.put(copy, len(tokens) * s_per_token):
                    put.append(tokens)
        for saved in reversed(self._saved):
            if is_new(saved.tokens) and bed.put(saved, len(saved.tokens) * s_per_token):
                put.append(saved.tokens)
        bed.tidy(self._woken)
        return tuple(bed.places)

    def wake(self, file: int, places: Iterable[SleepingPrefix]) -> None:
        """Takes over what another engine has put into a file; it is read where it is needed."""
        self._woken = list(places)
        self._saved[:0] = [InFile(file, place) for place in reversed(self._woken)]

    def _sources(self, wanted: list[int], running: Mapping[int, list[int]]) -> Iterator[_Source]:
        """What there is, what costs least first."""

        def usable(tokens: list[int], reach: int, points: Iterable[int], n_min: int) -> tuple[int, int]:
            n_common = count_common(tokens, wanted)
            n = n_common if n_common >= reach else max((at for at in points if at <= n_common), default=0)
            return n if n >= n_min else 0, n_common

        for seq_id, tokens in self._kept.items():
            points = (one.n_tokens for one in self._checkpoints.of(seq_id))
            yield _Source(*usable(tokens, self._reach(seq_id), points, 1), seq_id)
        for seq_id, living in running.items():
            points = (one.n_tokens for one in self._checkpoints.of(seq_id))
            reach = 1 if self.cuts_anywhere else _NEVER
            yield _Source(*usable(living[: self._n_held[seq_id]], reach, points, _N_SAVED_MIN), seq_id)
        for saved in self._saved:
            reach = 1 if len(saved.tokens) <= self._n_back else len(saved.tokens)
            points = (n_tokens for n_tokens, _ in saved.marks)
            yield _Source(*usable(saved.tokens, reach, points, _N_SAVED_MIN), -1, saved)

    def _end(self, seq_id: int) -> int:
        """How many tokens the KV cache holds of a sequence."""
        end = ffi.new("int32_t *")
        with self._context as context:
            call(lib.hsk_sequence_end_get, context, seq_id, end)
        return int(end[0])

    def _reach(self, seq_id: int) -> int:
        """The fewest first tokens that a sequence can go back to without a checkpoint."""
        if self.cuts_anywhere:
            return 1
        reach = ffi.new("int32_t *")
        with self._context as context:
            call(lib.hsk_sequence_reach_get, context, seq_id, reach)
        return int(reach[0])

    def _is_better_copied(self, source: _Source, empty: int | None) -> bool:
        """Whether an ended sequence that others may go on with stays as it is."""
        if empty is None or len(self._kept[source.seq_id]) - source.n < _N_SAVED_MIN:
            return False
        last = self._checkpoints.last(source.seq_id, source.n)
        return self.cuts_anywhere or (last is not None and last.n_tokens == source.n)

    def _copy(self, source: int, target: int, n: int) -> None:
        """Lets a sequence hold the first n tokens of another one, in the same cells."""
        checkpoint = self._checkpoints.last(source, n)  # there may be one of fewer tokens only by now
        n, data, n_bytes = (n, ffi.NULL, 0) if checkpoint is None else checkpoint
        with self._context as context:
            try:
                call(lib.hsk_sequence_copy, context, source, target, n, data, n_bytes)
            except (ContextFullError, UnsupportedError):
                n = 0
        if source in self._kept:
            self._kept[source] = self._kept.pop(source)
        self._n_held[target] = n
        self._cells.copy(source, target, n)
        self._checkpoints.put(target, (one for one in self._checkpoints.of(source) if one.n_tokens <= n))

    def _leave(self, seq_id: int, n_stay: int) -> None:
        """Cuts what is kept under an id down to its first tokens; the whole is copied where that is worth it."""
        kept = self._kept.pop(seq_id, None)
        if kept is None:
            return
        copy = None
        is_saved = any(count_common(saved.tokens, kept) == len(kept) for saved in self._saved)
        if len(kept) - n_stay >= _N_SAVED_MIN and not is_saved:
            copy = self._saved_copy(seq_id, kept, self._room_bytes)
        self.go_back(seq_id, n_stay)
        if copy is not None:
            self._saved = [saved for saved in self._saved if count_common(saved.tokens, kept) < len(saved.tokens)]
            self._add(copy)

    def _saved_copy(self, seq_id: int, tokens: list[int], room_bytes: int) -> InMemory | None:
        size = ffi.new("size_t *")
        checkpoints = self._checkpoints.of(seq_id)
        with self._context as context:
            call(lib.hsk_sequence_size_get, context, seq_id, size)
            n_bytes = size[0] + sum(one.n_bytes for one in checkpoints)
            if n_bytes > room_bytes:
                return None
            try:
                data = ffi.new("char[]", n_bytes)
                call(lib.hsk_sequence_save, context, seq_id, data, size[0])
            except (HoshikageError, MemoryError):
                return None
        at = size[0]
        for one in checkpoints:
            ffi.memmove(data + at, one.data, one.n_bytes)
            at += one.n_bytes
        return InMemory(tokens, data, n_bytes, tuple((one.n_tokens, one.n_bytes) for one in checkpoints))

    def _add(self, saved: Saved) -> None:
        self._saved.append(saved)
        self._tidy()

    def _tidy(self) -> None:
        """Drops what was used least recently, until the rest has room."""
        in_memory = [saved for saved in self._saved if saved.n_bytes_in_memory]
        n_bytes = sum(saved.n_bytes_in_memory for saved in in_memory)
        while n_bytes + self._checkpoints.n_bytes > self._room_bytes:
            if in_memory:
                oldest = in_memory.pop(0)
                n_bytes -= oldest.n_bytes_in_memory
                self._saved.remove(oldest)
            elif not self._checkpoints.drop_one([*self._kept, *range(len(self._n_held))]):
                return

    def _restore(self, seq_id: int, saved: Saved, n_stay: int) -> None:
        self.make_room(len(saved.tokens))
        data = saved.load()
        if data is None:
            return
        with self._context as context:
            try:
                call(lib.hsk_sequence_restore, context, seq_id, data, n_bytes_of_state(saved))
            except ContextFullError:
                self._add(saved)
                return
        self._n_held[seq_id] = len(saved.tokens)
        self._checkpoints.put(seq_id, checkpoints_of(saved, data))
        self.go_back(seq_id, n_stay)
        if n_stay < len(saved.tokens):  # else it will be a part of what this sequence leaves
            self._add(saved)
        else:
            self._tidy()


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
