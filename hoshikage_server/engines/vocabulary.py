"""Counting tokens without waking a model: short-lived engine processes that know the vocabulary only.

They are engines like others, with an owner of their own; they touch no GPU, hold no weights, and end after some idle
seconds.
"""

from __future__ import annotations

from typing import Any

import gevent
import msgspec

from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.spec import vocabulary_of
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Counted, EngineSpec
from hoshikage_server.errors import EngineError, LaneError
from hoshikage_server.settings import LiveSettings

IDLE_S = 5.0
_RETRIES = 1
_BYTES_A_TOKEN = 2  # few texts need more tokens than that; English has about four bytes a token, Japanese three
# What is wrong with the request itself; everything else the model's own engine will tell when it is asked.
_REFUSALS = frozenset({"chat_template_failed", "context_length_exceeded", "invalid_argument"})


class Vocabulary:
    """Tells how long prompts are.

    Args:
        owner: Of the processes that count.
        settings: For how long a count may take (`load_timeout`).
    """

    def __init__(self, owner: Supervisor, settings: LiveSettings) -> None:
        self._owner = owner
        self._settings = settings

    def count(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]]) -> int:
        """Tokens of a conversation as a prompt.

        Raises:
            EngineError: The vocabulary could not be loaded, or the model's template refused the messages.
        """
        lease = Lease(model, vocabulary_of(spec), _RETRIES)
        timeout_s = self._settings.now.load_timeout
        engine = self._owner.lease(lease)
        try:
            answer = engine.count(messages, timeout_s)
        except gevent.Timeout:
            raise EngineError("engine_crashed", reason=f"no count within {timeout_s:g} s") from None
        finally:
            self._owner.close_lease(lease)
        if isinstance(answer, Counted):
            return answer.n_prompt
        raise EngineError.reported(answer.code, answer.message, answer.fields)

    def refuse_early(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]]) -> None:
        """Refuses a prompt that does not fit, before its model is loaded only to say so.

        What has so few bytes that it most likely fits is not looked at: counting takes longer than it saves.

        Raises:
            EngineError: It does not fit, or the model's template refuses the messages.
        """
        if len(msgspec.json.encode(messages)) < _BYTES_A_TOKEN * spec.n_ctx:
            return
        try:
            n_prompt = self.count(model, spec, messages)
        except (EngineError, LaneError) as error:
            if error.code in _REFUSALS:
                raise
            return
        if n_prompt >= spec.n_ctx:
            raise EngineError.reported("context_length_exceeded", "", {"n_prompt": n_prompt, "n_ctx": spec.n_ctx})

    def close(self, timeout_s: float) -> None:
        """Ends the processes."""
        self._owner.close(timeout_s)
