"""One answer from beginning to end: its place in the lane, its engine, its frames, and giving all of it back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import msgspec

from hoshikage_server.engines.channel import AnswerFrame, Channel
from hoshikage_server.engines.lane import Lane, Permit
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.supervisor import Lease, Supervisor
from hoshikage_server.engines.wire import Accepted, Done, EngineSpec, Failed, Token
from hoshikage_server.errors import EngineError


class Answer:
    """An answer the engine has accepted. Must be closed."""

    def __init__(self, resources: _Resources, channel: Channel, engine: EngineProcess, stall_timeout_s: float) -> None:
        self._resources = resources
        self._channel = channel
        self._engine = engine
        self._stall_timeout_s = stall_timeout_s
        self._asked_at = time.monotonic()

    @property
    def fingerprint(self) -> str:
        """Which build and model made the answer, as OpenAI's system_fingerprint."""
        return self._engine.fingerprint

    def next_frame(self) -> Token | Done:
        """Waits for the next piece, or for the end.

        Raises:
            EngineError: The engine failed, died or fell silent.
        """
        frame = self._wait()
        if isinstance(frame, (Token, Done)):
            return frame
        raise _unexpected(frame)

    def next_frame_nowait(self) -> Token | Done | None:
        """The next piece if it is there already.

        Raises:
            EngineError: The engine failed or died.
        """
        frame = self._channel.get_nowait()
        if frame is None or isinstance(frame, (Token, Done)):
            return frame
        raise _unexpected(frame)

    def frames(self) -> Iterator[Token | Done]:
        """All pieces; the last one is Done."""
        while True:
            frame = self.next_frame()
            yield frame
            if isinstance(frame, Done):
                return

    def close(self) -> None:
        """Gives everything back; an unfinished answer is cancelled. Never switches greenlets."""
        self._engine.cancel(self._channel)
        self._resources.release()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def await_acceptance(self) -> None:
        """Waits until the engine has taken the prompt."""
        frame = self._wait()
        if not isinstance(frame, Accepted):
            raise _unexpected(frame)

    def _wait(self) -> AnswerFrame:
        while True:
            last_sign = max(self._engine.last_heard, self._asked_at)
            left_s = last_sign + self._stall_timeout_s - time.monotonic()
            frame = self._channel.get(left_s) if left_s > 0 else self._channel.get_nowait()
            if frame is not None:
                return frame
            if left_s <= 0:
                self._resources.report_stall(self._engine)
                raise EngineError("engine_stalled", seconds=f"{self._stall_timeout_s:g}")


class Answers:
    """Where requests get their answers.

    Args:
        queue_timeout_s: How long one waits for its turn.
        stall_timeout_s: Silence after which the engine is taken for dead.
        max_unsent: Pieces kept for a client that reads slowly.
    """

    def __init__(
        self,
        lane: Lane,
        supervisor: Supervisor,
        *,
        queue_timeout_s: float,
        stall_timeout_s: float,
        max_unsent: int,
    ) -> None:
        self.lane = lane
        self.supervisor = supervisor
        self._queue_timeout_s = queue_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._max_unsent = max_unsent

    def begin(
        self, model: str, spec: EngineSpec, question: dict[str, Any], on_overflow: Callable[[], None] | None = None
    ) -> Answer:
        """Waits for its turn, for the engine, and until the engine has accepted the prompt.

        Args:
            model: The model's id.
            spec: The engine it needs.
            question: The fields of `wire.Generate`, without the id.
            on_overflow: Called when the answer is given up because nobody reads it.

        Raises:
            LaneError: It was not its turn in time.
            EngineError: The engine could not be started, or refused the prompt.
        """
        resources = _Resources(self.supervisor)
        try:
            resources.permit = self.lane.enter(self._queue_timeout_s)
            lease = resources.lease = self.supervisor.lease(model, _of_file_as_it_is(spec))
            engine = lease.result.get(block=False)

            def make_channel(request_id: int) -> Channel:
                # The lane is free as soon as the engine is, however long the client takes to read.
                return Channel(request_id, self._max_unsent, on_end=resources.release, on_overflow=on_overflow)

            channel = engine.generate(make_channel, **question)
        except BaseException:
            resources.release()
            raise
        answer = Answer(resources, channel, engine, self._stall_timeout_s)
        try:
            answer.await_acceptance()
        except BaseException:
            answer.close()
            raise
        return answer


class _Resources:
    """What one answer holds while the engine works on it; released once."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.permit: Permit | None = None
        self.lease: Lease | None = None
        self.report_stall = supervisor.report_stall
        self._give_back = supervisor.give_back

    def release(self) -> None:
        if self.lease is not None:
            self._give_back(self.lease)
        if self.permit is not None:
            self.permit.leave()


def _of_file_as_it_is(spec: EngineSpec) -> EngineSpec:
    """The spec with its file's time and size; without them when there is no such file, as loading it will tell."""
    try:
        stat = os.stat(spec.path)
    except (OSError, ValueError):
        return spec
    return msgspec.structs.replace(spec, mtime_ns=stat.st_mtime_ns, size_bytes=stat.st_size)


def _unexpected(frame: AnswerFrame) -> EngineError:
    if isinstance(frame, Failed):
        return EngineError.reported(frame.code, frame.message, frame.fields)
    return EngineError("internal", reason=f"{type(frame).__name__} out of turn")
