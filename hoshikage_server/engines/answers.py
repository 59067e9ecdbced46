"""One answer from beginning to end: its place in the lane, its engines, its frames, and giving all of it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import gevent

from hoshikage_server.engines.channel import AnswerFrame, Channel, Piece
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.journal import Journal
from hoshikage_server.engines.lane import Lane
from hoshikage_server.engines.prompt_log import Prompt, PromptLog, texts_of
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.spec import as_it_is
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.vocabulary import NO_FORM, Vocabulary, has_shape
from hoshikage_server.engines.wire import Accepted, Done
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import Said
from hoshikage_server.settings import LiveSettings

Phase = Literal["queued", "loading", "prefill", "decode"]
_RETRIES = 1  # a request that ends its second engine as well is to blame for it


class Answer:
    """A question on its way to its answer. Must be closed.

    A greenlet of its own, the pilot, waits for the turn and for engines, and holds what they need: so the lane is free
    as soon as the engine is, however slowly the client reads, and another engine continues where one has died, while
    the request only sees frames.

    Attributes:
        request_id: The request's.
        model: The model's id.
        began: When it was asked (monotonic clock).
        is_accepted: Whether an engine has taken the prompt, as far as whoever reads it has been told.
        n_resumed: How often another engine had to continue it.
        fingerprint: Which build and model makes it, as OpenAI's system_fingerprint; known once it is accepted.
        defaults: How tokens are chosen where the question does not say; known once it is accepted.
    """

    def __init__(
        self,
        answers: Answers,
        request_id: str,
        model: str,
        spec: EngineSpec,
        question: dict[str, Any],
        on_overflow: Callable[[], None] | None,
        goes_on: bool,
    ) -> None:
        self._answers = answers
        self._spec = spec
        self._goes_on = goes_on
        self._journal = Journal(question)
        self._texts = texts_of(question["messages"])
        self._reuses = bool(question.get("reuses", True))
        self._channel = Channel(request_id, self._journal, answers.settings.now.max_unsent, on_overflow)
        self._lease: Lease | None = None
        self.is_accepted = False
        self.request_id = request_id
        self.model = model
        self.began = time.monotonic()
        self._phase: Phase = "queued"
        self.n_resumed = 0
        self.fingerprint = ""
        self.defaults = Sampling()
        self._pilot = gevent.spawn(self._fly)

    @property
    def error(self) -> Exception | None:
        """What it has come to, if it is nothing."""
        return self._channel.error

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return "decode" if self._phase == "prefill" and self.n_completion else self._phase

    @property
    def n_prompt(self) -> int | None:
        """Tokens of the prompt, once they are known."""
        return self._journal.n_prompt

    @property
    def n_completion(self) -> int:
        """Tokens of the answer so far."""
        return self._journal.n_completion

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Waits until an engine has taken the prompt; False if that takes longer. None: as long as all stages may take.

        Raises:
            ServerError: It came to nothing.
        """
        if not self.is_accepted:
            frame = self._get(timeout_s)
            assert frame is None or isinstance(frame, Accepted)
            self.is_accepted = frame is not None
        return self.is_accepted

    def next_frame(self, timeout_s: float | None) -> Piece | None:
        """The next piece, or the end; None if neither comes in time.

        Raises:
            ServerError: The answer broke off for good.
        """
        return _piece(self._get(timeout_s))

    def next_frame_nowait(self) -> Piece | None:
        """The next piece if it is there already; raises as `next_frame` does."""
        return _piece(self._channel.get_nowait())

    def close(self) -> None:
        """Gives everything back; an unfinished answer is cancelled. Never switches greenlets."""
        self._pilot.kill(block=False)
        if self._lease is not None:
            self._answers.supervisor.close_lease(self._lease)
        self._answers.running.discard(self)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, timeout_s: float | None) -> AnswerFrame | None:
        try:
            return self._channel.get(timeout_s)
        except gevent.GreenletExit:  # the server's grace has ended
            raise EngineError("shutting_down") from None

    # ---- the pilot

    def _fly(self) -> None:
        try:
            limits = self._answers.settings.now
            supervisor, vocabulary = self._answers.supervisor, self._answers.vocabulary
            question = self._journal.question()
            is_checked = has_shape(question.get("form", NO_FORM)) and self._answers.lane.is_busy(self._spec)
            if is_checked:
                vocabulary.refuse_early(self.model, self._spec, question)
            with self._answers.lane.enter(
                self._spec, timeout_s=limits.queue_timeout, max_waiting=limits.max_queue, goes_on=self._goes_on
            ):
                self._phase = "loading"
                self._spec = as_it_is(self._spec)
                if not is_checked and not supervisor.is_awake(self._spec):
                    vocabulary.refuse_early(self.model, self._spec, question)
                self._compute()
        except Exception as error:  # the request raises it
            self._channel.fail(error)

    def _compute(self) -> None:
        """Lets engines work until one of them has ended the answer."""
        lease = Lease(self.model, self._spec, _RETRIES)
        while True:
            reason = self._use(lease)
            if reason is None:
                self._answers.note_end(self.model, self._channel.done)
                self._note_prompt(lease)
                return
            spec, self._spec = self._spec, as_it_is(self._spec)
            # What has been said so far belongs to the file as it was.
            if not lease.n_retries or (self._journal.is_accepted and self._spec != spec):
                raise EngineError.died(reason)
            lease = Lease(self.model, self._spec, lease.n_retries - 1, goes_on=self._journal.is_accepted)
            self.n_resumed += 1

    def _note_prompt(self, lease: Lease) -> None:
        """Notes what became of a prompt that one engine has computed."""
        engine = lease.engine
        if self._channel.done is None or self.n_resumed or engine is None or engine.ready is None:
            return
        self._answers.prompts.note(
            Prompt(
                self.model,
                self._spec,
                engine.process.pid,
                self._texts,
                self._journal.prompt,
                self._channel.n_cached,
                self._reuses,
                engine.ready.cuts_anywhere,
            )
        )

    def _use(self, lease: Lease) -> str | Said | None:
        """Lets one engine work: None when the answer has ended, else how the engine has."""
        supervisor = self._answers.supervisor
        previous, self._lease = self._lease, lease
        if previous is not None:
            supervisor.close_lease(previous)
        self._phase = "loading"
        engine = supervisor.lease(lease)
        self._phase = "prefill"
        self.fingerprint = engine.fingerprint
        self.defaults = engine.defaults
        number: int | None = None
        try:
            number = engine.generate(self._channel, self._journal.question())
            return self._channel.wait_for_engine()
        finally:
            if number is not None:
                engine.forget(number)
            supervisor.give_back(lease)


class Answers:
    """Where requests get their answers.

    Attributes:
        running: The answers under way.
        lane: Who may compute.
        supervisor: Whose engines.
        last_tokens_per_s: How fast the last whole answer was decoded.
        guesses: By model: how many tokens were guessed, and how many of them right.
        prompts: What became of the last prompts.
    """

    def __init__(self, lane: Lane, supervisor: Supervisor, vocabulary: Vocabulary, settings: LiveSettings) -> None:
        self.lane = lane
        self.supervisor = supervisor
        self.vocabulary = vocabulary
        self.settings = settings
        self.running: set[Answer] = set()
        self.last_tokens_per_s: float | None = None
        self.guesses: dict[str, tuple[int, int]] = {}
        self.prompts = PromptLog()

    def ask(
        self,
        request_id: str,
        model: str,
        spec: EngineSpec,
        question: dict[str, Any],
        on_overflow: Callable[[], None] | None = None,
        *,
        goes_on: bool = False,
    ) -> Answer:
        """Begins an answer; it waits for its turn, for an engine and for the prompt by itself.

        Args:
            request_id: The request's.
            model: The model's id.
            spec: The engine it needs.
            question: The fields of `wire.Generate`, without the id.
            on_overflow: Called when the answer is given up because nobody reads it.
            goes_on: It is a part of a request that has been let in already.
        """
        answer = Answer(self, request_id, model, spec, question, on_overflow, goes_on)
        self.running.add(answer)
        return answer

    def note_end(self, model: str, done: Done | None) -> None:
        """Notes how fast an answer was, and how well it was guessed."""
        if done is None:
            return
        if done.tokens_per_s is not None:
            self.last_tokens_per_s = done.tokens_per_s
        if done.timings is not None and done.timings.n_drafted:
            n_drafted, n_accepted = self.guesses.get(model, (0, 0))
            self.guesses[model] = n_drafted + done.timings.n_drafted, n_accepted + done.timings.n_accepted


def _piece(frame: AnswerFrame | None) -> Piece | None:
    assert not isinstance(frame, Accepted)
    return frame
