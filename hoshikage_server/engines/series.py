"""Several questions answered one after the other, as one answer with many choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hoshikage_server.engines.answers import Answer
from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.wire import Done, Progress


class Series:
    """Asks each question when the one before it has been answered: others get their turn in between. Must be closed.

    The choices of the second question count on from those of the first, and so on; only the last one's end is last.

    Args:
        ask: Begins an answer; told whether it goes on with what has been let in already.
        questions: The fields of `wire.Generate` without the id; at least one.
    """

    def __init__(self, ask: Callable[[dict[str, Any], bool], Answer], questions: Sequence[dict[str, Any]]) -> None:
        self._ask = ask
        self._questions = questions
        self._index = 0
        self._answer = ask(questions[0], False)

    @property
    def error(self) -> Exception | None:
        """What it has come to, if it is nothing."""
        return self._answer.error

    @property
    def fingerprint(self) -> str:
        """Which build and model makes it."""
        return self._answer.fingerprint

    @property
    def defaults(self) -> Sampling:
        """How tokens are chosen where the questions do not say."""
        return self._answer.defaults

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Waits until an engine has taken the prompt; see `Answer.wait_until_accepted`."""
        return self._answer.wait_until_accepted(timeout_s)

    def next_frame(self, timeout_s: float | None) -> Piece | None:
        """The next piece; None if it does not come in time.

        Raises:
            ServerError: An answer broke off for good.
        """
        if not self._answer.wait_until_accepted(timeout_s):
            return None
        return self._counted_on(self._answer.next_frame(timeout_s))

    def next_frame_nowait(self) -> Piece | None:
        """The next piece if it is there already; raises as `next_frame` does."""
        if not self._answer.is_accepted:
            return None
        return self._counted_on(self._answer.next_frame_nowait())

    def close(self) -> None:
        """Gives everything back. Never switches greenlets."""
        self._answer.close()

    def _counted_on(self, frame: Piece | None) -> Piece | None:
        if frame is None or isinstance(frame, Progress):
            return frame
        n_before = sum(question["n_choices"] for question in self._questions[: self._index])
        choice = frame.choice + n_before
        if not isinstance(frame, Done):
            return msgspec.structs.replace(frame, choice=choice)
        is_last = frame.is_last and self._index == len(self._questions) - 1
        if frame.is_last and not is_last:
            self._index += 1
            self._answer.close()
            self._answer = self._ask(self._questions[self._index], True)
        return msgspec.structs.replace(frame, choice=choice, is_last=is_last)
