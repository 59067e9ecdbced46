"""Counting tokens without waking a model: short-lived engine processes that know the vocabulary only.

They are engines like others, with an owner of their own; they touch no GPU, hold no weights, and end after some idle
seconds.
"""

from __future__ import annotations

from typing import Any

import gevent
import msgspec

from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Counted, EngineSpec
from hoshikage_server.errors import EngineError

_IDLE_S = 5.0
# What is wrong with the request itself; everything else the model's own engine will tell when it is asked.
_REFUSALS = frozenset({"chat_template_failed", "context_length_exceeded", "invalid_argument"})


class Vocabulary:
    """Tells how long prompts are.

    Args:
        owner: Of the processes that count.
        engines: The supervisor of the engines that compute.
        timeout_s: For one count.
    """

    def __init__(self, owner: Supervisor, engines: Supervisor, timeout_s: float) -> None:
        self._owner = owner
        self._engines = engines
        self._timeout_s = timeout_s

    def count(self, model: str, spec: EngineSpec, messages: list[dict[str, Any]]) -> int:
        """Tokens of a conversation as a prompt.

        Raises:
            EngineError: The vocabulary could not be loaded, or the model's template refused the messages.
        """
        lease = Lease(model, msgspec.structs.replace(spec, is_vocab_only=True, parallel=1), _IDLE_S)
        engine = self._owner.lease(lease)
        try:
            answer = engine.count(messages, self._timeout_s)
        except gevent.Timeout:
            raise EngineError("engine_crashed", reason=f"no count within {self._timeout_s:g} s") from None
        finally:
            self._owner.close_lease(lease)
        if isinstance(answer, Counted):
            return answer.n_prompt
        raise EngineError.reported(answer.code, answer.message, answer.fields)

    def refuse_early(self, lease: Lease, messages: list[dict[str, Any]]) -> None:
        """Refuses a prompt that does not fit, if its model would have to be loaded only to say so.

        A prompt with fewer bytes than the context has tokens hardly ever fails to fit, and is not looked at.

        Raises:
            EngineError: It does not fit, or the model's template refuses the messages.
        """
        if self._engines.is_awake(lease.spec) or len(msgspec.json.encode(messages)) < lease.spec.n_ctx:
            return
        try:
            n_prompt = self.count(lease.model, lease.spec, messages)
        except EngineError as error:
            if error.code in _REFUSALS:
                raise
            return
        if n_prompt >= lease.spec.n_ctx:
            raise EngineError.reported("context_length_exceeded", "", {"n_prompt": n_prompt, "n_ctx": lease.spec.n_ctx})

    def close(self, timeout_s: float) -> None:
        """Ends the processes."""
        self._owner.close(timeout_s)
