"""Embeddings: texts as vectors that lie close together where the texts mean the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core.errors import CancelledError, ClosedError, ContextLengthError, InvalidArgumentError
from hoshikage_core.params import THREADS_MAX, ContextShape

if TYPE_CHECKING:
    from hoshikage_core.model import Model

Pooling = Literal["none", "mean", "cls", "last", "rank"]
"""How the vectors of an input's tokens become one; see ``Model.embedder()``."""

_NUMBER_OF_POOLING: dict[Pooling, int] = {
    "none": lib.HSK_POOLING_NONE,
    "mean": lib.HSK_POOLING_MEAN,
    "cls": lib.HSK_POOLING_CLS,
    "last": lib.HSK_POOLING_LAST,
    "rank": lib.HSK_POOLING_RANK,
}
_POOLING_OF_NUMBER = {number: pooling for pooling, number in _NUMBER_OF_POOLING.items()}


def pooling_of(text: str | None) -> Pooling | None:
    """The pooling that a GGUF's metadata writes as a number; None for nothing and for nonsense."""
    return _POOLING_OF_NUMBER.get(int(text)) if text is not None and text.isascii() and text.isdigit() else None


class Embedder:
    """Turns texts into vectors; made by ``Model.embedder()``.

    Thread-safe: one native call runs at a time; ``cancel()`` and ``close()`` need no lock and interrupt it.

    Attributes:
        model: The model.
        n_ctx: Tokens of one input at most.
        n_batch: Tokens that several inputs may have to be computed together.
        n_embd: Numbers of one vector; with the pooling "rank", scores.
        pooling: How the vectors of an input's tokens become one.
        native: The native context.
    """

    def __init__(self, model: Model, shape: ContextShape, pooling: Pooling | None, n_threads: int | None) -> None:
        params = shape.native()
        default_threads = lib.hsk_thread_count_default() if n_threads is None else n_threads
        params.n_threads = params.n_threads_batch = _checks.integer("n_threads", default_threads, 1, THREADS_MAX)
        if pooling is not None and pooling not in _NUMBER_OF_POOLING:
            raise InvalidArgumentError("pooling", f"must be one of {', '.join(_NUMBER_OF_POOLING)}")
        number = lib.HSK_POOLING_UNSPECIFIED if pooling is None else _NUMBER_OF_POOLING[pooling]
        self.model = model
        self._lock = threading.Lock()
        self._closing = False
        self._computing = False
        self._cancelled = False
        model.require_embedder_memory(shape)
        out, info = ffi.new("hsk_embedder **"), ffi.new("hsk_embedder_info *")
        with model.native as native:
            call(lib.hsk_embedder_new, native, params, number, out, info)
        self.n_ctx: int = info.n_ctx
        self.n_batch = min(shape.n_batch, self.n_ctx)
        self.n_embd: int = info.n_embd
        self.pooling: Pooling = _POOLING_OF_NUMBER[info.pooling]
        self._n_inputs_max = min(shape.parallel, self.n_ctx)
        self.native = Handle(out[0], lib.hsk_embedder_free, "embedder")

    def tokenize(self, text: str) -> list[int]:
        """A text as an input of the model: with the tokens that it wants at the ends, such as CLS and SEP.

        Special tokens written in the text are read as such, as the tokenizers do that these models were trained with.

        Raises:
            ContextLengthError: It is surely too long.
            InvalidArgumentError: It holds a lone surrogate.
        """
        try:
            self.model.require_room(text, self.n_ctx + 1)
        except ContextLengthError as error:  # nothing has to be left for an answer
            raise ContextLengthError(error.n_prompt, self.n_ctx, is_at_least=True, is_answered=False) from None
        return self.model.tokenize(text, parse_special=True)

    def embed(
        self, inputs: Sequence[str | Sequence[int]], *, normalize: bool = True, dimensions: int | None = None
    ) -> list[memoryview]:
        """The embeddings of texts, each as it would be alone.

        Args:
            inputs: Texts, or token ids as they are.
            normalize: Give vectors the length 1, so that the product of two is their cosine similarity. Scores stay as
                they are.
            dimensions: Only the first numbers of each vector, for models that put the most important ones there.

        Returns:
            For each input its vector, as 32-bit floats; with the pooling "none" one for each of its tokens, as a
            two-dimensional view.

        Raises:
            CancelledError: ``cancel()`` was called meanwhile.
            ClosedError: The embedder is closed, or was closed meanwhile.
            ContextLengthError: An input is too long; nothing was computed.
            InvalidArgumentError: An input is empty, a token is not in the vocabulary, or ``dimensions`` is out of
                range; nothing was computed.
        """
        if isinstance(inputs, (str, bytes)):
            raise InvalidArgumentError("inputs", "must be a list")
        width = self.n_embd if dimensions is None else _checks.integer("dimensions", dimensions, 1, self.n_embd)
        tokens = [self._tokens(f"inputs[{index}]", given) for index, given in enumerate(inputs)]
        vectors: list[memoryview] = []
        with self._lock:
            self._cancelled = False
            self._computing = True
            try:
                while len(vectors) < len(tokens):
                    some = tokens[len(vectors) :]
                    some = some[: self.n_together(map(len, some))]
                    vectors += self._compute(some, normalize, width)
            finally:
                self._computing = False
        return vectors

    def n_together(self, lengths: Iterator[int]) -> int:
        """How many of the next inputs are computed in one native call; at least one.

        Args:
            lengths: How many tokens each has.
        """
        n_inputs = n_tokens = 0
        for length in lengths:
            n_tokens += length
            if n_inputs and (n_tokens > self.n_batch or n_inputs >= self._n_inputs_max):
                break
            n_inputs += 1
        return n_inputs

    def cancel(self) -> None:
        """Ends the running ``embed()`` with CancelledError; does nothing where none is running. Any thread."""
        if self._computing:
            self._cancelled = True
            self._interrupt()

    @property
    def progress(self) -> int:
        """A number that grows while an embedding is computed: on the CPU many times a call, on a GPU with each batch.

        Any thread: it waits for nothing.

        Raises:
            ClosedError: The embedder is closed.
        """
        with self.native as native:
            return int(lib.hsk_embedder_progress_get(native))

    def close(self) -> None:
        """Ends what is running and frees the memory; using it then raises ClosedError. May be called twice."""
        self._closing = True
        self._interrupt()
        with self._lock:
            self.native.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _interrupt(self) -> None:
        try:
            with self.native as native:
                lib.hsk_embedder_interrupt(native)
        except ClosedError:
            pass  # then nothing is running

    def _tokens(self, name: str, given: str | Sequence[int]) -> list[int]:
        tokens = self.tokenize(given) if isinstance(given, str) else _checks.token_ids(name, given)
        if not tokens:
            raise InvalidArgumentError(name, "must hold at least one token")
        if len(tokens) > self.n_ctx:
            raise ContextLengthError(len(tokens), self.n_ctx, is_answered=False)
        n_vocab = self.model.info.n_vocab
        if not 0 <= min(tokens) <= max(tokens) < n_vocab:
            raise InvalidArgumentError(name, f"holds a token that is not in the vocabulary (0..{n_vocab - 1})")
        return tokens

    def _compute(self, inputs: list[list[int]], normalize: bool, width: int) -> list[memoryview]:
        """One native call; the lock is held."""
        native_inputs = ffi.new("hsk_input[]", len(inputs))
        kept = [ffi.new("int32_t[]", tokens) for tokens in inputs]
        for native_input, tokens in zip(native_inputs, kept, strict=True):
            native_input.tokens, native_input.n_tokens = tokens, len(tokens)
        heights = [len(tokens) if self.pooling == "none" else 1 for tokens in inputs]
        data = bytearray(4 * width * sum(heights))
        floats = ffi.from_buffer("float[]", data)
        while True:
            # In this order: whoever cancels after the look at `_cancelled` interrupts the call.
            if self._closing:
                raise ClosedError("the embedder is closed")
            if self._cancelled:
                raise CancelledError("the embedding was cancelled")
            try:
                with self.native as native:
                    call(lib.hsk_embed, native, native_inputs, len(inputs), normalize, width, floats, len(floats))
                break
            except CancelledError:
                continue  # or else it was meant for a call that had ended before
        return list(self._split(memoryview(data).toreadonly(), heights, width))

    def _split(self, data: memoryview, heights: list[int], width: int) -> Iterator[memoryview]:
        begin = 0
        for height in heights:
            piece: Any = data[begin : begin + 4 * width * height]
            begin += len(piece)
            yield piece.cast("f", [height, width]) if self.pooling == "none" else piece.cast("f")
