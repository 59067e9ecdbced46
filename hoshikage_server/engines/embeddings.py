"""A request for embeddings on the server's side: its turn, its engines, and what they send."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.lane import Lane
from hoshikage_server.engines.spec import as_it_is
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Failed, Pooling
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import Said
from hoshikage_server.settings import LiveSettings

_RETRIES = 1  # as an answer


@dataclass(frozen=True)
class Inputs:
    """What is to be embedded: texts, or the bytes of token ids; one of the two is empty."""

    texts: tuple[str, ...] = ()
    tokens: tuple[bytes, ...] = ()

    def after(self, n_done: int) -> Inputs:
        """Those that are left."""
        return Inputs(self.texts[n_done:], self.tokens[n_done:])


@dataclass
class Vectors:
    """What became of it.

    Attributes:
        vectors: The bytes of 32-bit floats, one item for each input.
        n_tokens: Tokens of all inputs.
    """

    vectors: list[bytes] = field(default_factory=list)
    n_tokens: int = 0


class Embeddings:
    """Where requests get their embeddings. Nothing is left of one that is interrupted: its engine stops computing.

    Args:
        lane: Who may compute.
        supervisor: Whose engines.
        settings: Limits.
    """

    def __init__(self, lane: Lane, supervisor: Supervisor, settings: LiveSettings) -> None:
        self._lane = lane
        self._supervisor = supervisor
        self._settings = settings

    def embed(
        self,
        model: str,
        spec: EngineSpec,
        inputs: Inputs,
        *,
        pooling: Pooling | None = None,
        dimensions: int | None = None,
    ) -> Vectors:
        """Waits for a turn, an engine and the vectors. Where an engine dies, another one does what is left.

        Args:
            model: The model's id.
            spec: The engine it needs.
            inputs: What to embed.
            pooling: How the vectors of an input's tokens become one; None: as the model's file says.
            dimensions: Only the first numbers of each vector.

        Raises:
            EngineError: It could not be done; the value `index` says which input is to blame, if one is.
            LaneError: There was no turn for it in time.
        """
        limits = self._settings.now
        done = Vectors()
        options = {"pooling": pooling, "dimensions": dimensions}
        with self._lane.enter(spec, timeout_s=limits.queue_timeout, max_waiting=limits.max_queue):
            spec = as_it_is(spec)
            n_retries = _RETRIES
            while True:
                lease = Lease(model, spec, n_retries, goes_on=bool(done.vectors))
                try:
                    reason = self._use(lease, inputs, options, done)
                finally:
                    self._supervisor.close_lease(lease)
                if reason is None:
                    return done
                before, spec = spec, as_it_is(spec)
                # Vectors of two models do not go together.
                if not lease.n_retries or (done.vectors and spec != before):
                    raise EngineError.died(reason)
                n_retries = lease.n_retries - 1

    def _use(self, lease: Lease, inputs: Inputs, options: Mapping[str, object], done: Vectors) -> str | Said | None:
        """Lets one engine work: None when all is done, else how the engine has ended."""
        n_before = len(done.vectors)
        left = inputs.after(n_before)
        question = {"texts": left.texts, "tokens": left.tokens, **options}
        with closing(self._supervisor.lease(lease).embed(question)) as frames:
            for frame in frames:
                if isinstance(frame, Failed):
                    if frame.code == "engine_crashed":
                        reason = frame.fields["reason"]
                        assert isinstance(reason, (str, Said))
                        return reason
                    error = EngineError.reported(frame.code, frame.message, frame.fields)
                    if isinstance(index := error.values.get("index"), int):
                        error.values["index"] = index + n_before
                    raise error
                done.vectors += frame.vectors
                done.n_tokens += frame.n_tokens
        return None
