"""What has to be known of a running answer so that another engine can continue it."""

from __future__ import annotations

import secrets
from array import array
from typing import Any

import msgspec

from hoshikage_server.engines.wire import Accepted, SoFar, Token


class Journal:
    """The question, and since the engine accepted it the ids of the prompt and of every token whose text is known.

    Of several choices, which come one after the other, only the tokens of the one that is being made are kept.

    The randomness of each token comes from the seed and its position, so the seed is fixed here.

    Args:
        question: The fields of `wire.Generate`, without the id.
    """

    def __init__(self, question: dict[str, Any]) -> None:
        sampling = question["sampling"]
        if sampling.seed is None:
            sampling = msgspec.structs.replace(sampling, seed=secrets.randbits(63))
        self._question = {**question, "sampling": sampling}
        self._accepted: Accepted | None = None
        self._tokens = array("i")
        self._choice = 0
        self._n_echoed = 0
        self._n_before = 0

    @property
    def is_accepted(self) -> bool:
        """Whether an engine has taken the prompt."""
        return self._accepted is not None

    @property
    def n_prompt(self) -> int | None:
        """Tokens of the prompt, once they are known."""
        return self._accepted.n_prompt if self._accepted else None

    @property
    def prompt(self) -> bytes:
        """The prompt's token ids, once they are known."""
        return self._accepted.prompt if self._accepted else b""

    @property
    def n_completion(self) -> int:
        """Tokens of the answer so far, of all choices."""
        return self._n_before + len(self._tokens)

    def accept(self, frame: Accepted) -> None:
        """Notes what the engine made of the question; the messages are not needed any more."""
        self._accepted = frame
        self._question["messages"] = []

    def add(self, frame: Token) -> None:
        """Notes tokens."""
        self._tokens.extend(frame.tokens)
        self._n_echoed += len(frame.echo)

    def end_choice(self) -> None:
        """Notes that a choice is complete."""
        self._n_before += len(self._tokens)
        self._tokens = array("i")
        self._choice += 1

    def question(self) -> dict[str, Any]:
        """What to ask the next engine: the question, or its continuation."""
        accepted = self._accepted
        if accepted is None:
            return self._question
        tokens = self._tokens.tobytes()
        so_far = SoFar(accepted.prompt, tokens, accepted.stop, accepted.plan, self._choice, self._n_echoed)
        return {**self._question, "so_far": so_far}
