"""What the next step computes: for which of the generations that run, how many tokens, and which guesses."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

from hoshikage_core._ffi import lib
from hoshikage_core._prefixes import Prefixes
from hoshikage_core._step import Part
from hoshikage_core.params import ContextShape

if TYPE_CHECKING:
    from hoshikage_core.generation import Generation

_N_MEASURED = 32  # tokens of a step that tells how fast prompts are computed
_STALL_S = 0.2  # how long the pieces of a prompt may hold up those that decode
_PIECE_S = 0.09  # how long a piece may take on a GPU: what has begun there is computed to its end, cancelled or not
_N_PREFILL_MIN = 32  # smaller pieces are computed hardly sooner

Guess = Callable[["Generation", int, int], SequenceOf[int]]
"""Guesses what comes next: at most so many tokens, while so many generations decode."""


class Planner:
    """Plans the steps of an engine, whose lock is held in every call.

    Args:
        shape: How many tokens and sequences a step takes at most.
        prefixes: What the KV cache holds, and has room for.
        n_guesses_max: How many guesses a step takes at most; 0: none.
        is_interruptible: Whether what computes can be stopped in the middle of a step.

    Attributes:
        s_per_token: How long a token of a prompt took lately; until that is known, pieces of prompts are small.
        n_scored_max: Tokens of a step at most whose logits are kept to tell of the prompt.
    """

    def __init__(self, shape: ContextShape, prefixes: Prefixes, n_guesses_max: int, *, is_interruptible: bool) -> None:
        self.s_per_token = math.inf
        # The logits after the last token of every other sequence may be kept too.
        self.n_scored_max = min(lib.HSK_LOGITS_MAX, shape.n_batch - shape.parallel + 1)
        self._n_batch = shape.n_batch
        self._prefixes = prefixes
        self._n_guesses_max = n_guesses_max
        self._piece_s = math.inf if is_interruptible else _PIECE_S

    def learn(self, parts: SequenceOf[Part], n_tokens: int, elapsed_s: float) -> None:
        """Takes note of how long a step with so many tokens took."""
        if n_tokens >= _N_MEASURED and not any(part[0].is_scored for part in parts):
            self.s_per_token = elapsed_s / n_tokens

    def n_at_once(self, seq_id: int, n: int) -> int:
        """How many of a sequence's next n tokens one step can compute."""
        return self._prefixes.n_at_once(seq_id, min(n, self._n_prompt_tokens(self._piece_s)))

    def plan(self, running: SequenceOf[Generation], guess: Guess) -> tuple[list[Generation], list[Part]]:
        """Who computes how many tokens in the next step, and who samples; ends what was cancelled or finds no room.

        Those that decode come first, one token each; prompts share what is left of the batch, first come first served.

        Args:
            running: The generations, the youngest last.
            guess: Makes guesses, where any are made.
        """
        decoding: list[Generation] = []
        prefilling: list[Generation] = []
        for generation in running:
            if generation.sequence.cancelled:
                generation.finish("cancelled")
            elif generation.is_between and not generation.begin_next():
                continue  # it failed, or its first token has ended it
            elif generation.sequence.n_pending == 1:
                decoding.append(generation)
            elif self._is_ready(generation, decoding + prefilling):
                prefilling.append(generation)
        n_wanted = sum(generation.sequence.n_pending for generation in decoding + prefilling)
        n_spare = 0 if prefilling else self._n_guesses_max
        n_left = min(self._n_batch, self._prefixes.make_room(min(self._n_batch, n_wanted + n_spare)))
        n_spare = min(n_spare, n_left - n_wanted)
        if prefilling:  # those that decode are not to stand still while a prompt is computed
            limit_s = min(_STALL_S, self._piece_s) if decoding else self._piece_s
            n_left = min(n_left, len(decoding) + self._n_prompt_tokens(limit_s))
        n_scored = self.n_scored_max
        chosen, parts = [], []
        for generation in decoding + prefilling:
            n_pending = generation.sequence.n_pending
            n_tokens = self.n_at_once(generation.sequence.id, min(n_pending, n_left))
            if generation.sequence.is_scored:
                n_tokens = min(n_tokens, n_scored)
                n_scored -= n_tokens
            if n_tokens:
                guesses = guess(generation, n_spare, len(decoding)) if n_spare > 0 else ()
                n_spare -= len(guesses)
                n_left -= n_tokens
                chosen.append(generation)
                parts.append((generation.sequence, n_tokens, n_tokens == n_pending and generation.samples, guesses))
        if not parts and (decoding or prefilling):
            # The cache is full of sequences that all want more: the youngest gives way.
            [*_, youngest] = (generation for generation in running if not generation.finished)
            youngest.finish("length")
        return chosen, parts

    def _is_ready(self, generation: Generation, before: SequenceOf[Generation]) -> bool:
        """False for a prompt that begins like one which is being computed: what they share will be copied."""
        sequence = generation.sequence
        if not sequence.reuse:
            return True
        # Of an answer that goes on after a crash, tokens can be copied that are none of the prompt.
        n_wanted = generation.n_prompt - 1
        n_held = min(sequence.n_computed, n_wanted)
        # Pieces of what is scored are small: that would be a long wait.
        others = {other.sequence.id: other.sequence.tokens for other in before if not other.sequence.is_scored}
        is_ready = self._prefixes.catch_up(sequence.id, sequence.tokens, others)
        sequence.n_cached += min(sequence.n_computed, n_wanted) - n_held
        return is_ready

    def _n_prompt_tokens(self, limit_s: float) -> int:
        """How many tokens of prompts a step may compute that is to take no longer."""
        if math.isinf(limit_s):
            return self._n_batch
        return min(self._n_batch, max(_N_PREFILL_MIN, int(limit_s / self.s_per_token)))
