"""Embeddings in the engine process: read, computed and sent piece by piece, so that others get their turn in between.

The embedder is made for the first request, beside the context that generates (they share the weights), and made anew
where a longer input comes: what it takes of memory grows with what it is used for.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hoshikage_core import (
    CancelledError,
    ContextLengthError,
    Embedder,
    Embedding,
    HoshikageError,
    InvalidArgumentError,
    Model,
    Reason,
)
from hoshikage_core.embedding import tokenize_input
from hoshikage_server.engines import wire
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import CannotEmbedError, TooManyDimensionsError, failed
from hoshikage_server.engines.loading import loras_of

_N_CTX_FIRST = 512
_READ_S = 0.01  # for cutting texts into tokens, until others get their turn


@dataclass
class _Job:
    """A request on its way.

    Attributes:
        inputs: The tokens of those inputs that have been read.
        n_sent: Inputs whose vectors have been sent.
        embedding: The computation of the others, once all have been read.
        embedder: Who computes it.
    """

    frame: wire.Embed
    inputs: list[list[int]] = field(default_factory=list)
    n_sent: int = 0
    embedding: Embedding | None = None
    embedder: Embedder | None = None

    @property
    def n_inputs(self) -> int:
        """How many there are."""
        return len(self.frame.texts) or len(self.frame.tokens)


class _InputError(Exception):
    """What is wrong with one of the inputs is in its cause."""

    def __init__(self, index: int, error: HoshikageError) -> None:
        super().__init__(str(error))
        self.index = index
        self.error = error


class EmbeddingWork:
    """All requests for embeddings of one engine process, in turns.

    Args:
        send: Sends a frame.
    """

    def __init__(self, send: Callable[[wire.Frame], None]) -> None:
        self._send = send
        self._jobs: deque[_Job] = deque()
        self._embedder: Embedder | None = None
        self._pooling: wire.Pooling | None = None  # that was asked for
        self._n_ctx_max: int | None = None  # of an encoder, once it is known
        # Shared with the reader and the pulse.
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._computing: _Job | None = None
        self._n_steps = 0

    # ---- other threads

    def expect(self, frame: wire.Embed) -> None:
        """Notes that a request is on its way to `add`."""
        with self._lock:
            self._wanted.add(frame.id)

    def cancel(self, request_id: int) -> None:
        """Nobody wants it any more; what is computed of it is interrupted."""
        with self._lock:
            self._wanted.discard(request_id)
            job = self._computing
            if job is not None and job.frame.id == request_id and job.embedding is not None:
                job.embedding.cancel()

    @property
    def progress(self) -> int:
        """A number that does not stay the same while there is progress."""
        with self._lock:
            job = self._computing  # as long as it is that, its embedder stays open
            return self._n_steps + (job.embedder.progress if job is not None and job.embedder is not None else 0)

    # ---- the main thread

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._jobs)

    def add(self, frame: wire.Embed) -> None:
        """Takes a request."""
        self._jobs.append(_Job(frame))

    def step(self, model: Model, spec: EngineSpec) -> None:
        """Does a piece of the work, if there is any: reads some inputs of one request, or computes a batch."""
        if not self._jobs:
            return
        job = self._jobs.popleft()
        self._n_steps += 1
        try:
            is_done = job.frame.id not in self._wanted or self._advance(job, model, spec)
        except CancelledError:
            is_done = True
        except _InputError as wrong:
            self._send(failed(job.frame.id, wrong.error, index=wrong.index))
            is_done = True
        except Exception as error:
            self._send(failed(job.frame.id, error))
            is_done = True
        if not is_done:
            # Who pools in another way needs another embedder: it waits until this one is done with.
            is_needed = job.embedding is not None and any(other.frame.pooling != self._pooling for other in self._jobs)
            (self._jobs.appendleft if is_needed else self._jobs.append)(job)
            return
        with self._lock:
            self._wanted.discard(job.frame.id)

    def _advance(self, job: _Job, model: Model, spec: EngineSpec) -> bool:
        """Whether the job is done."""
        n_ctx = min(spec.n_ctx, self._n_ctx_max or spec.n_ctx)
        if len(job.inputs) < job.n_inputs:
            until = time.monotonic() + _READ_S
            while len(job.inputs) < job.n_inputs and time.monotonic() < until:
                job.inputs.append(_read(job.frame, len(job.inputs), model, n_ctx))
            return False
        embedder = self._embedder_for(job, model, spec, n_ctx)
        if job.embedding is None or job.embedder is not embedder:
            self._begin(job, embedder)
        return self._compute(job)

    def _embedder_for(self, job: _Job, model: Model, spec: EngineSpec, n_ctx: int) -> Embedder:
        """The one there is, if it can do the job, or a new one."""
        longest = max(map(len, job.inputs))
        if self._embedder is not None:
            if self._pooling == job.frame.pooling and longest <= self._embedder.n_ctx:
                return self._embedder
            self._embedder.close()
            self._embedder = None
        wanted = min(max(_N_CTX_FIRST, 1 << (longest - 1).bit_length()), n_ctx)
        embedder = model.embedder(
            wanted,
            pooling=job.frame.pooling,
            n_threads=spec.n_threads,
            flash_attention=spec.flash_attention,
            lora=loras_of(spec),
        )
        if embedder.n_ctx < wanted:
            self._n_ctx_max = embedder.n_ctx
        self._embedder, self._pooling = embedder, job.frame.pooling
        return embedder

    def _begin(self, job: _Job, embedder: Embedder) -> None:
        for index, tokens in enumerate(job.inputs):
            if len(tokens) > embedder.n_ctx:  # which only turned out when it was made
                raise _InputError(index, ContextLengthError(len(tokens), embedder.n_ctx, is_answered=False))
        if embedder.pooling == "rank":
            raise CannotEmbedError
        dimensions = job.frame.dimensions
        if dimensions is not None and dimensions > embedder.n_embd:
            raise TooManyDimensionsError(dimensions, embedder.n_embd)
        job.embedding = embedder.start(job.inputs[job.n_sent :], dimensions=dimensions)
        job.embedder = embedder

    def _compute(self, job: _Job) -> bool:
        assert job.embedding is not None
        with self._lock:
            if job.frame.id not in self._wanted:
                return True
            self._computing = job
        try:
            vectors = job.embedding.step()
        finally:
            with self._lock:
                self._computing = None
        end = job.n_sent + len(vectors)
        n_tokens = sum(map(len, job.inputs[job.n_sent : end]))
        job.n_sent = end
        is_last = end == job.n_inputs
        self._send(wire.Embedded(job.frame.id, tuple(map(bytes, vectors)), n_tokens, is_last))
        return is_last


def _read(frame: wire.Embed, index: int, model: Model, n_ctx: int) -> list[int]:
    """The tokens of an input."""
    try:
        if frame.texts:
            tokens = tokenize_input(model, frame.texts[index], n_ctx)
        else:
            ids = array("i")
            ids.frombytes(frame.tokens[index])
            tokens = ids.tolist()
            model.require_tokens(tokens)
        if not tokens:
            raise InvalidArgumentError("input", Reason("empty_input", "has no tokens"))
        if len(tokens) > n_ctx:
            raise ContextLengthError(len(tokens), n_ctx, is_answered=False)
    except HoshikageError as error:
        raise _InputError(index, error) from error
    return tokens
