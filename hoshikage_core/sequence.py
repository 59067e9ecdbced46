"""The low level: one sequence of tokens in the KV cache, computed and sampled step by step."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._guessing import Track
from hoshikage_core.errors import (
    CancelledError,
    ClosedError,
    HoshikageError,
    InvalidArgumentError,
    NativeError,
    Reason,
)
from hoshikage_core.logprobs import TokenLogprob
from hoshikage_core.sampling import SamplingParams, choice_seed, new_sampler

if TYPE_CHECKING:
    from hoshikage_core.engine import Engine
    from hoshikage_core.prompt import ChatPrompt


class Sequence:
    """Tokens in an engine's KV cache; made by ``Engine.open()``.

    ``prefill()`` computes what was appended, ``sample()`` chooses a token from the logits and appends it, ``step()``
    does both in one native call. Its methods may be called from any thread, one at a time.

    Attributes:
        id: The engine's number for it.
        tokens: All its tokens; do not change the list.
        sampling: How tokens are chosen.
        seed: What its random choices come from.
        cancelled: Whether ``cancel()`` was called.
        n_cached: How many of its first tokens another sequence had computed.
        reuse: Whether it may take them over.
        failure: Why its sampler failed, if it did; the sequence is of no use then.
        is_scored: Whether the logits after all its tokens are wanted, not only those after the last.
        track: How well it was guessed how it goes on.
    """

    def __init__(
        self,
        engine: Engine,
        seq_id: int,
        tokens: SequenceOf[int],
        sampling: SamplingParams,
        *,
        shape: ChatPrompt | None = None,
        thinking_budget: int | None = None,
        choice: int = 0,
        reuse: bool = True,
    ) -> None:
        self.engine = engine
        self.id = seq_id
        self.tokens = list(tokens)
        self.sampling = sampling
        self.seed = int.from_bytes(os.urandom(8), "little") >> 1 if sampling.seed is None else sampling.seed
        self.n_cached = engine.native_step.n_held[seq_id]
        self.reuse = reuse
        self.cancelled = False
        self.failure: HoshikageError | None = None
        self.is_scored = False
        self.track = Track()
        self._closed = False
        self._prompt = tokens
        self._shape = shape
        self._thinking_budget = thinking_budget
        self.sampler = self.new_sampler(choice)

    @property
    def n_computed(self) -> int:
        """Tokens in the KV cache, the first ones of ``tokens``."""
        return 0 if self._closed else self.engine.native_step.n_held[self.id]

    @property
    def n_pending(self) -> int:
        """Tokens that are not computed yet."""
        return len(self.tokens) - self.n_computed

    def append(self, token: int) -> None:
        """Appends a token of the caller's choice, as if it had been sampled.

        Raises:
            InvalidArgumentError: The token is not in the vocabulary, or an end token where there is a grammar.
            NativeError: The grammar does not allow it; the sequence can only be closed then.
        """
        self.extend(_checks.token_ids("token", [token]))

    def extend(self, tokens: SequenceOf[int]) -> None:
        """Appends several tokens; errors are those of ``append``."""
        with self.engine.lock:
            self._require_open()
            self.accept(_checks.token_ids("tokens", tokens))
            self.tokens.extend(tokens)

    def prefill(self) -> None:
        """Computes all pending tokens, in pieces of at most ``n_batch``; the logits after the last one are kept.

        Raises:
            CancelledError: ``cancel()`` was called. Whole pieces that were done stay done.
            ContextFullError: The KV cache has no room.
        """
        self._require_open()
        while self.n_pending:
            self._compute_piece(samples=False)

    def sample(self) -> int:
        """Chooses the next token from the logits and appends it.

        Returns:
            The token id; an end token (see ``Model.is_end``) is appended like any other.

        Raises:
            InvalidArgumentError: The last step kept no logits for this sequence.
        """
        with self.engine.lock:
            self._require_open()
            token = self.draw(self.sampler)
            self.tokens.append(token)
            return token

    def step(self) -> int:
        """Computes the pending tokens and samples the next one.

        Returns:
            The token id, appended.

        Raises:
            CancelledError: ``cancel()`` was called.
            ContextFullError: The KV cache has no room.
            InvalidArgumentError: Nothing is pending.
            NativeError: The sampler failed, as a grammar can.
        """
        self._require_open()
        if not self.n_pending:
            text = "nothing is pending: append a token, or use sample()"
            raise InvalidArgumentError("tokens", Reason("nothing_pending", text))
        while (token := self._compute_piece(samples=True)) is None:
            pass
        return token

    def logits(self) -> memoryview[float]:
        """A copy of the logits after the last computed token: a read-only buffer of ``n_vocab`` floats (format "f").

        Raises:
            InvalidArgumentError: The last step kept no logits for this sequence.
        """
        with self.engine.lock:
            self._require_open()
            n_vocab = self.engine.model.info.n_vocab
            logits = ffi.new("float[]", n_vocab)
            with self.engine.native as context:
                call(lib.hsk_logits_copy, context, self.id, logits, n_vocab)
            return memoryview(bytes(ffi.buffer(logits))).cast("f")

    def top_logprobs(self, n: int) -> list[TokenLogprob]:
        """The n likeliest next tokens, most likely first.

        Args:
            n: 0 to ``n_vocab``.

        Raises:
            InvalidArgumentError: ``n`` is out of range, or the last step kept no logits for this sequence.
        """
        with self.engine.lock:
            self._require_open()
            _checks.integer("n", n, 0, self.engine.model.info.n_vocab)
            tokens, logprobs = ffi.new("int32_t[]", n), ffi.new("float[]", n)
            with self.engine.native as context:
                call(lib.hsk_logprobs_get, context, self.id, 0, -1, ffi.NULL, tokens, logprobs, n)
            return [TokenLogprob(tokens[i], logprobs[i]) for i in range(n)]

    def cancel(self) -> None:
        """Makes the running or the next computation of this sequence raise CancelledError. Any thread."""
        self.cancelled = True
        self.engine.interrupt(self)

    def close(self) -> None:
        """Gives the sequence's room in the KV cache back. May be called twice, and after the engine was closed."""
        self.cancel()
        with self.engine.lock:
            if not self._closed:
                self._closed = True
                self.engine.release(self.id, self.tokens)
                self.sampler.close()

    def __enter__(self) -> Sequence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _compute_piece(self, *, samples: bool) -> int | None:
        """Computes pending tokens, as many as fit a step; samples when none is left, and returns that token.

        The lock is held for one piece at a time, so that others get their turn and ``close()`` need not wait for all.
        """
        with self.engine.lock:
            self._require_open()
            n_tokens = self.engine.n_at_once(self.id, self.n_pending)
            is_last = n_tokens == self.n_pending
            try:
                tokens = self.engine.compute([(self, n_tokens, samples and is_last, ())])[0]
            except CancelledError:
                self._require_open()
                return None  # the interrupt was for a step that had ended by then
            if self.failure is not None:
                raise self.failure
            return tokens[-1] if tokens else None

    # ---- for generations, with the engine's lock held

    def new_sampler(self, choice: int) -> Handle:
        """A sampler that knows the prompt, for one of several choices."""
        with self.engine.model.native as model:
            seed = choice_seed(self.seed, choice)
            sampler = new_sampler(model, self.sampling, seed, self.engine.n_ctx, self._shape, self._thinking_budget)
        self._accept(sampler, self._prompt, is_generated=False)
        return sampler

    def accept(self, tokens: SequenceOf[int]) -> None:
        """Tells the sampler tokens that it did not choose."""
        self._accept(self.sampler, tokens, is_generated=True)

    def draw(self, sampler: Handle) -> int:
        """Chooses a token from the logits the last step kept, and appends it to nothing."""
        token = ffi.new("int32_t *")
        with self.engine.native as context, sampler as native:
            self._note_failure(lib.hsk_sample, context, self.id, native, token)
        return int(token[0])

    def rewind(self, n_tokens: int, n_held: int, sampler: Handle) -> None:
        """Goes back to its first tokens, with another sampler.

        Args:
            n_tokens: How many stay.
            n_held: How many of them at most stay in the KV cache; fewer where the model's memory cannot be cut there.
            sampler: One that knows these tokens.
        """
        self._cut(n_tokens, n_held)
        self.sampler.close()
        self.sampler = sampler

    def drop(self, n_tokens: int) -> None:
        """Takes back its last tokens, which the sampler knows all the same: it is of no use afterwards."""
        n_left = len(self.tokens) - n_tokens
        self._cut(n_left, n_left)

    def _cut(self, n_tokens: int, n_held: int) -> None:
        del self.tokens[n_tokens:]
        self.track.n_told = min(self.track.n_told, n_tokens)
        if self.n_computed > n_held:
            self.engine.go_back(self.id, n_held)

    def _accept(self, sampler: Handle, tokens: SequenceOf[int], *, is_generated: bool) -> None:
        ids = ffi.new("int32_t[]", tokens)
        with sampler as native:
            self._note_failure(lib.hsk_sampler_accept, native, ids, len(ids), is_generated)

    def _note_failure(self, function: Callable[..., int], *args: Any) -> None:
        """A call that leaves the sampler unusable when llama.cpp fails in it."""
        try:
            call(function, *args)
        except NativeError as error:
            self.failure = error
            raise

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the sequence is closed")
        self.engine.require_open()
        if self.cancelled:
            raise CancelledError("the sequence was cancelled")
        if self.failure is not None:
            raise self.failure
