"""Embeddings: texts as vectors that lie close together where the texts mean the same."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._loras import Lora, native_loras
from hoshikage_core.errors import CancelledError, ClosedError, ContextLengthError, InvalidArgumentError, Reason
from hoshikage_core.params import ContextShape

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


def tokenize_input(model: Model, text: str, n_ctx: int) -> list[int]:
    """A text as an input of a model: with the tokens that it wants at the ends, such as CLS and SEP.

    Special tokens written in the text are read as such, as the tokenizers do that these models were trained with.

    Args:
        model: The model.
        text: The text.
        n_ctx: Tokens that it may have.

    Raises:
        ContextLengthError: It is surely too long; what is not sure is not checked.
        InvalidArgumentError: It holds a lone surrogate.
    """
    try:
        model.require_room(text, n_ctx + 1)
    except ContextLengthError as error:  # nothing has to be left for an answer
        raise ContextLengthError(error.n_prompt, n_ctx, is_at_least=True, is_answered=False) from None
    return model.tokenize(text, parse_special=True)


class Embedding:
    """Inputs on their way to vectors; made by ``Embedder.start()``.

    Attributes:
        n_tokens: Tokens of each input.
        cancelled: Whether ``cancel()`` was called.
    """

    def __init__(self, embedder: Embedder, inputs: list[list[int]], normalize: bool, width: int) -> None:
        self.n_tokens = [len(tokens) for tokens in inputs]
        self.cancelled = False
        self._embedder = embedder
        self._inputs = inputs
        self._normalize = normalize
        self._width = width
        self._n_done = 0

    def step(self) -> list[memoryview]:
        """Computes the next inputs: as many as go into one native call.

        Returns:
            Their vectors; none when all are computed.

        Raises:
            CancelledError: ``cancel()`` was called.
            ClosedError: The embedder is closed.
        """
        n_inputs = self._embedder.n_together(self.n_tokens[self._n_done :])
        some = self._inputs[self._n_done : self._n_done + n_inputs]
        vectors = self._embedder.compute(self, some, self._normalize, self._width) if some else []
        self._n_done += len(vectors)
        return vectors

    def result(self) -> list[memoryview]:
        """Computes what is left; errors are those of ``step``."""
        vectors: list[memoryview] = []
        while some := self.step():
            vectors += some
        return vectors

    def cancel(self) -> None:
        """Nobody wants it any more: ``step`` raises CancelledError, at once if it is computing. Any thread."""
        self.cancelled = True
        self._embedder.interrupt(self)


class Embedder:
    """Turns texts into vectors; made by ``Model.embedder()``.

    Thread-safe: one native call runs at a time. ``cancel()`` and ``close()`` need no lock and interrupt it.

    Attributes:
        model: The model.
        n_ctx: Tokens of one input at most.
        n_batch: Tokens that several inputs may have to be computed together.
        n_embd: Numbers of one vector; with the pooling "rank", scores.
        pooling: How the vectors of an input's tokens become one.
        native: The native context.
    """

    def __init__(
        self,
        model: Model,
        shape: ContextShape,
        pooling: Pooling | None,
        n_threads: int | None,
        lora: Sequence[Lora] = (),
    ) -> None:
        params = shape.native(n_threads)
        if pooling is not None and pooling not in _NUMBER_OF_POOLING:
            names = ", ".join(_NUMBER_OF_POOLING)
            raise InvalidArgumentError("pooling", Reason("none_of", "must be one of {names}", names=names))
        number = lib.HSK_POOLING_UNSPECIFIED if pooling is None else _NUMBER_OF_POOLING[pooling]
        self.model = model
        self._lock = threading.Lock()
        self._closing = False
        self._computing: Embedding | None = None
        self._started: weakref.WeakSet[Embedding] = weakref.WeakSet()
        model.require_embedder_memory(shape)
        out, info = ffi.new("hsk_embedder **"), ffi.new("hsk_embedder_info *")
        with native_loras(model, lora) as loras, model.native as native:
            call(lib.hsk_embedder_new, native, params, number, *loras, out, info)
        self.n_ctx: int = info.n_ctx
        self.n_batch = min(shape.n_batch, self.n_ctx)
        self.n_embd: int = info.n_embd
        self.pooling: Pooling = _POOLING_OF_NUMBER[info.pooling]
        self._n_inputs_max = min(shape.parallel, self.n_ctx)
        self.native = Handle(out[0], lib.hsk_embedder_free, "embedder")

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
        return self.start(inputs, normalize=normalize, dimensions=dimensions).result()

    def start(
        self, inputs: Sequence[str | Sequence[int]], *, normalize: bool = True, dimensions: int | None = None
    ) -> Embedding:
        """The same step by step; nothing is computed yet. Arguments and errors are those of ``embed``."""
        if isinstance(inputs, (str, bytes)):
            raise InvalidArgumentError("inputs", Reason("no_list", "must be a list"))
        width = self.n_embd if dimensions is None else _checks.integer("dimensions", dimensions, 1, self.n_embd)
        tokens = [self._tokens(f"inputs[{index}]", given) for index, given in enumerate(inputs)]
        embedding = Embedding(self, tokens, normalize, width)
        self._started.add(embedding)
        return embedding

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text as ``embed`` reads it; see ``tokenize_input``."""
        return tokenize_input(self.model, text, self.n_ctx)

    def n_together(self, lengths: Sequence[int]) -> int:
        """How many of the next inputs go into one native call; one at least, where there is one.

        Args:
            lengths: How many tokens each has.
        """
        n_tokens = 0
        for n_inputs, length in enumerate(lengths):
            n_tokens += length
            if n_inputs and (n_tokens > self.n_batch or n_inputs >= self._n_inputs_max):
                return n_inputs
        return len(lengths)

    def cancel(self) -> None:
        """Ends each running ``embed()`` with CancelledError; does nothing where none is running. Any thread."""
        for embedding in list(self._started):
            embedding.cancel()

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

    def interrupt(self, embedding: Embedding) -> None:
        """Ends the running native call early if it is for this embedding. Any thread."""
        if self._computing is embedding:
            self._interrupt()

    def compute(self, embedding: Embedding, inputs: list[list[int]], normalize: bool, width: int) -> list[memoryview]:
        """One native call, for an embedding; errors are those of ``Embedding.step``."""
        native_inputs = ffi.new("hsk_input[]", len(inputs))
        kept = [ffi.new("int32_t[]", tokens) for tokens in inputs]
        for native_input, tokens in zip(native_inputs, kept, strict=True):
            native_input.tokens, native_input.n_tokens = tokens, len(tokens)
        heights = [len(tokens) if self.pooling == "none" else 1 for tokens in inputs]
        data = bytearray(4 * width * sum(heights))
        floats = ffi.from_buffer("float[]", data)
        with self._lock:
            try:
                # Before the look at `cancelled`: whoever cancels now sees that it has to interrupt.
                self._computing = embedding
                self._run(embedding, native_inputs, normalize, width, floats)
            finally:
                self._computing = None
        return list(self._split(memoryview(data).toreadonly(), heights, width))

    def _run(self, embedding: Embedding, inputs: Any, normalize: bool, width: int, floats: Any) -> None:
        while True:
            if self._closing:
                raise ClosedError("the embedder is closed")
            if embedding.cancelled:
                raise CancelledError("the embedding was cancelled")
            try:
                with self.native as native:
                    call(lib.hsk_embed, native, inputs, len(inputs), normalize, width, floats, len(floats))
                return
            except CancelledError:
                pass  # unless one of the above, it was meant for a call that had ended before

    def _interrupt(self) -> None:
        try:
            with self.native as native:
                lib.hsk_embedder_interrupt(native)
        except ClosedError:
            pass  # then nothing is running

    def _tokens(self, name: str, given: str | Sequence[int]) -> list[int]:
        tokens = self.tokenize(given) if isinstance(given, str) else _checks.token_ids(name, given)
        if not tokens:
            raise InvalidArgumentError(name, Reason("no_token", "must hold at least one token"))
        if len(tokens) > self.n_ctx:
            raise ContextLengthError(len(tokens), self.n_ctx, is_answered=False)
        _checks.in_vocabulary(name, tokens, self.model.info.n_vocab)
        return tokens

    def _split(self, data: memoryview, heights: list[int], width: int) -> Iterator[memoryview]:
        begin = 0
        for height in heights:
            piece: Any = data[begin : begin + 4 * width * height]
            begin += len(piece)
            yield piece.cast("f", [height, width]) if self.pooling == "none" else piece.cast("f")
