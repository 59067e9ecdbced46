"""How far to guess: as far as it saves time, judged by which guesses were right and by what they cost to compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

from hoshikage_core._ffi import Handle, call, ffi, lib

if TYPE_CHECKING:
    from hoshikage_core._step import Part
    from hoshikage_core.params import ContextShape
    from hoshikage_core.sequence import Sequence
    from hoshikage_core.speculation import Speculation

_COST = 0.2  # of a guess in steps, where nothing is known: low, so that it is tried
_COST_MAX = 2.0  # more is an accident
_TIME_WEIGHT = 0.3  # of the latest step
_DOUBT = 0.9997  # with each step, what was slow is taken to be less so: it is tried again some day
_WORTHWHILE = 1.05  # less is not known that well


class Track:
    """What is known of one sequence.

    Attributes:
        n_told: How many of its tokens the native side knows.
        streak: Guesses that were right one after the other, and a part of those before the last one that was wrong.
        guesses: The latest, whether they were computed or not.
    """

    __slots__ = ("guesses", "n_told", "streak")

    def __init__(self) -> None:
        self.n_told = 0
        self.streak = 0
        self.guesses: SequenceOf[int] = ()

    @property
    def hit_rate(self) -> float:
        """How probable it is that the next guess is right: the longer they were, the longer they will be."""
        return (self.streak + 1) / (self.streak + 2)

    def learn(self, tokens: SequenceOf[int]) -> None:
        """Compares the guesses with the tokens that were sampled."""
        for guess, token in zip(self.guesses, tokens, strict=False):
            if guess != token:
                self.streak //= 4
                break
            self.streak += 1
        self.guesses = ()


class Guesser:
    """Guesses how sequences go on. Under the engine's lock.

    Args:
        context: The native context.
        speculation: How to guess.
        shape: The engine's.
    """

    def __init__(self, context: Handle, speculation: Speculation, shape: ContextShape) -> None:
        self.n_max = shape.n_draft
        self._context = context
        self._is_free = speculation.draft_model is None
        self._step_s = 0.0  # of a step without guesses
        # How many guesses are tried, and how many times longer such a step takes.
        self._times = {n: 1 + _COST * n for n in _lengths(self.n_max)}
        self._tokens = ffi.new("int32_t[]", shape.n_ctx)
        self._guesses = ffi.new("int32_t[]", shape.n_draft)
        self._n_guesses = ffi.new("int32_t *")
        with context as native:
            if speculation.draft_model is None:
                call(lib.hsk_drafting_start, native, speculation.n_ngram, 0.0, ffi.NULL, ffi.NULL)
            else:
                with speculation.draft_model.native as draft_model:
                    call(lib.hsk_drafting_start, native, 0, speculation.p_min, draft_model, draft_shape(shape).native())

    def guess(self, sequence: Sequence, n_max: int, n_decoding: int) -> SequenceOf[int]:
        """The guesses that are worth computing.

        Args:
            sequence: One with a single token to compute.
            n_max: How many at most.
            n_decoding: How many sequences decode in this step: they share what it costs that there is one.
        """
        track = sequence.track
        n_worth = min(n_max, self._n_worth(track.hit_rate, n_decoding))
        n_asked = max(n_worth, 1) if self._is_free else n_worth
        if n_asked <= 0:
            return ()
        tail = sequence.tokens[track.n_told :]
        self._tokens[0 : len(tail)] = tail
        with self._context as native:
            call(
                lib.hsk_guess,
                native,
                sequence.id,
                track.n_told,
                self._tokens,
                len(tail),
                n_asked,
                self._guesses,
                self._n_guesses,
            )
        track.n_told = len(sequence.tokens)
        track.guesses = ffi.unpack(self._guesses, self._n_guesses[0])
        return track.guesses[:n_worth]

    def learn(self, parts: SequenceOf[Part], sampled: SequenceOf[SequenceOf[int]], elapsed_s: float) -> None:
        """Takes note of a step: which guesses were right, and how long it took."""
        for (sequence, *_), tokens in zip(parts, sampled, strict=True):
            if sequence.track.guesses:
                sequence.track.learn(tokens)
        _, n_tokens, samples, guesses = parts[0]
        if len(parts) != 1 or n_tokens != 1 or not samples:
            return
        n_guesses, times = len(guesses), self._times
        for n in times:
            if n != n_guesses:
                times[n] = 1 + (times[n] - 1) * _DOUBT
        if n_guesses == 0:
            self._step_s += (elapsed_s - self._step_s) * (_TIME_WEIGHT if self._step_s else 1)
        elif n_guesses in times and self._step_s:
            time = min(max(elapsed_s / self._step_s, 1), 1 + _COST_MAX * n_guesses)
            times[n_guesses] += _TIME_WEIGHT * (time - times[n_guesses])

    def _n_worth(self, hit_rate: float, n_decoding: int) -> int:
        """How many guesses bring the most tokens for the time."""
        times = self._times
        share = (1 + (times[1] - 1) * (n_decoding - 1)) / n_decoding
        n_best, best = 0, _WORTHWHILE / share
        for n, time in times.items():
            n_tokens = (1 - hit_rate ** (n + 1)) / (1 - hit_rate)
            if n_tokens > best * (time - 1 + share):
                n_best, best = n, n_tokens / (time - 1 + share)
        return n_best


def _lengths(n_max: int) -> list[int]:
    """1, 2, 4, 8 and so on."""
    lengths = [1]
    while lengths[-1] < n_max:
        lengths.append(min(2 * lengths[-1], n_max))
    return lengths


def draft_shape(shape: ContextShape) -> ContextShape:
    """The shape of a draft model's context."""
    return dataclasses.replace(shape, n_draft=0)
