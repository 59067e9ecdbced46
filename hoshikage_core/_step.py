"""One native step: which tokens of which sequences go in, and the sampled tokens that come out."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any

from hoshikage_core._ffi import error_from, ffi, lib

if TYPE_CHECKING:
    from hoshikage_core.sequence import Sequence

Part = tuple["Sequence", int, bool, SequenceOf[int]]
"""A sequence, how many of its pending tokens to compute, whether to sample after them, and guesses of what follows."""


class NativeStep:
    """Calls ``hsk_step`` with buffers that are made once.

    Between two tokens the computation has emptied the processor's caches, so that each Python object touched here costs
    more than it seems: this is the one piece of the library that is written for speed.

    Args:
        parallel: Parts of a step at most.
        n_batch: Tokens of a step at most.
        awaits_end: Whether some logits are asked for in any case. Where nobody waits for any, ``llama_decode`` comes
            back while a GPU or another machine is still computing, and how long that takes would not be seen.
    """

    def __init__(self, parallel: int, n_batch: int, *, awaits_end: bool = False) -> None:
        self.n_held = [0] * parallel
        """Tokens in the KV cache, by sequence id."""
        self._array = ffi.new("hsk_slot[]", parallel)
        self._slots = [self._array + i for i in range(parallel)]
        self._tokens = ffi.new("int32_t[]", n_batch)
        self._error = ffi.new("hsk_error *")
        self._awaits_end = awaits_end

    def run(self, context: Any, parts: SequenceOf[Part]) -> list[SequenceOf[int]]:
        """Computes and samples; see ``Engine.compute``."""
        self._fill(parts)
        if lib.hsk_step(context, self._array, len(parts), self._error) != lib.HSK_OK:
            raise error_from(self._error)
        sampled: list[SequenceOf[int]] = []
        for slot, (sequence, n_tokens, samples, guesses) in zip(self._slots, parts, strict=False):
            tokens: SequenceOf[int] = ()
            if guesses:
                n_accepted = slot.n_accepted
                n_tokens += n_accepted
                tokens = guesses[:n_accepted]
            self.n_held[sequence.id] += n_tokens
            if slot.status != lib.HSK_OK:
                sequence.failure = error_from(self._error)
            elif samples:
                tokens = (*tokens, slot.token)
            sequence.tokens.extend(tokens)
            sampled.append(tokens)
        return sampled

    def _fill(self, parts: SequenceOf[Part]) -> None:
        offset = 0
        for slot, (sequence, n_tokens, samples, guesses) in zip(self._slots, parts, strict=False):
            begin = self.n_held[sequence.id]
            end = begin + n_tokens
            self._tokens[offset : offset + n_tokens] = sequence.tokens[begin:end]
            slot.seq_id = sequence.id
            slot.pos = begin
            slot.tokens = self._tokens + offset
            slot.n_tokens = n_tokens
            slot.n_draft = 0
            slot.n_logits = n_tokens if sequence.is_scored else end == len(sequence.tokens)
            # Freed under the engine's lock only, which is held here.
            slot.sampler = sequence.sampler.pointer if samples else ffi.NULL
            offset += n_tokens
            if guesses:
                slot.n_draft = len(guesses)
                slot.n_tokens += slot.n_draft
                self._tokens[offset : offset + slot.n_draft] = guesses
                offset += slot.n_draft
        if self._awaits_end:
            slot.n_logits = max(slot.n_logits, 1)
