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
from hoshikage_server.engines.wire import Counted, EngineSpec, Failed
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
        settings: For how long a count may take (`stall_timeout`).
    """

    def __init__(self, owner: Supervisor, settings: LiveSettings) -> None:
        self._owner = owner
        self._settings = settings

    def count(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]], n_ctx: int | None = None) -> int:
        """Tokens of a conversation as a prompt.

        Args:
            model: The model's id.
            spec: Its engine's.
            messages: The conversation.
            n_ctx: If given, it has to leave room in such a context.

        Raises:
            EngineError: The vocabulary could not be loaded, the model's template refused the messages, or they do not
                fit.
            LaneError: Too many others are counted.
        """
        answer = self._ask(model, spec, messages, n_ctx)
        if isinstance(answer, Failed) and answer.code == "engine_crashed":
            answer = self._ask(model, spec, messages, n_ctx)
        if isinstance(answer, Failed):
            raise EngineError.reported(answer.code, answer.message, answer.fields)
        return answer.n_prompt

    def refuse_early(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]]) -> None:
        """Refuses a prompt that does not fit, before its model is loaded only to say so.

        What has so few bytes that it most likely fits is not looked at: counting takes longer than it saves.

        Raises:
            EngineError: It does not fit, or the model's template refuses the messages.
        """
        if len(msgspec.json.encode(messages)) < _BYTES_A_TOKEN * spec.n_ctx:
            return
        try:
            self.count(model, spec, messages, spec.n_ctx)
        except (EngineError, LaneError) as error:
            if error.code in _REFUSALS:
                raise

    def _ask(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]], n_ctx: int | None) -> Counted | Failed:
        timeout_s = self._settings.now.stall_timeout
        lease = Lease(model, vocabulary_of(spec), _RETRIES)
        engine = self._owner.lease(lease)
        try:
            return engine.count(messages, n_ctx, timeout_s)
        except gevent.Timeout:
            reason = f"no count within {timeout_s:g} s"
            engine.kill(reason)
            raise EngineError("engine_crashed", reason=reason) from None
        finally:
            self._owner.close_lease(lease)

    def close(self, timeout_s: float) -> None:
        """Ends the processes."""
        self._owner.close(timeout_s)
