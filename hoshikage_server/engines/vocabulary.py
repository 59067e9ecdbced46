"""Counting tokens without waking a model: short-lived engine processes that know the vocabulary only.

They are engines like others, with an owner of their own; they touch no GPU, hold no weights, and end after some idle
seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gevent
import msgspec

from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.process import Question, R
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Count, Counted, Detokenize, Failed, Plain, TextPrompt, Tokenize, Tokens
from hoshikage_server.errors import EngineError, LaneError
from hoshikage_server.messages import said
from hoshikage_server.settings import LiveSettings

IDLE_S = 5.0
NO_FORM = Form()
_RETRIES = 1
_BYTES_A_TOKEN = 2  # few texts need more tokens than that; English has about four bytes a token, Japanese three
# What is wrong with the request itself; everything else the model's own engine will tell when it is asked.
_REFUSALS = frozenset(
    {
        *("chat_template_failed", "context_length_exceeded", "invalid_argument", "invalid_grammar"),
        *("invalid_json_schema", "token_not_in_vocabulary"),
    }
)


def has_shape(form: Form) -> bool:
    """Whether an answer has to match something, which has to be compiled first."""
    return form.json_schema is not None or form.grammar is not None or bool(form.tools)


class Vocabulary:
    """Tells how long prompts are.

    Args:
        owner: Of the processes that count.
        settings: For how long a count may take (`stall_timeout`).
    """

    def __init__(self, owner: Supervisor, settings: LiveSettings) -> None:
        self._owner = owner
        self._settings = settings

    def count(
        self,
        model: str,
        spec: EngineSpec,
        messages: list[dict[str, Any]],
        n_ctx: int | None = None,
        *,
        form: Form = NO_FORM,
        text: TextPrompt | None = None,
    ) -> int:
        """Tokens of a prompt.

        Args:
            model: The model's id.
            spec: Its engine's.
            messages: The conversation.
            n_ctx: If given, it has to leave room in such a context.
            form: What the answer has to look like; it is compiled.
            text: The prompt, where it is no conversation.

        Raises:
            EngineError: The vocabulary could not be loaded, the model's template refused the messages, they do not fit,
                or their form cannot be had.
            LaneError: Too many others are counted.
        """
        return self._ask(model, spec, lambda number: Count(number, messages, n_ctx, form, text), Counted).n_prompt

    def tokenize(self, model: str, spec: EngineSpec, text: str, *, add_special: bool, parse_special: bool) -> Tokens:
        """A text's tokens, and the bytes of each.

        Raises:
            EngineError: The vocabulary could not be loaded.
            LaneError: Too many others are counted.
        """
        return self._ask(model, spec, lambda number: Tokenize(number, text, add_special, parse_special), Tokens)

    def detokenize(self, model: str, spec: EngineSpec, tokens: bytes) -> str:
        """The text of tokens, given as the bytes of their ids.

        Raises:
            EngineError: The vocabulary could not be loaded, or has no such token.
            LaneError: Too many others are counted.
        """
        return self._ask(model, spec, lambda number: Detokenize(number, tokens), Plain).text

    def refuse_early(
        self, model: str, spec: EngineSpec, question: Mapping[str, Any], *, looks_closely: bool = False
    ) -> None:
        """Refuses a question that cannot be answered, before it waits or its model is loaded only to say so.

        One without a form that has so few bytes that it most likely fits is not looked at: counting takes longer than
        it saves.

        Args:
            model: The model's id.
            spec: Its engine's.
            question: The fields of `wire.Generate`.
            looks_closely: Look at it in any case.

        Raises:
            EngineError: It does not fit, the model's template refuses the messages, or its form cannot be had.
        """
        messages, form, text = question["messages"], question.get("form", NO_FORM), question.get("text")
        n_bytes = len(msgspec.json.encode((messages, text)))
        if not (looks_closely or has_shape(form)) and n_bytes < _BYTES_A_TOKEN * spec.n_ctx:
            return
        try:
            self.count(model, spec, messages, spec.n_ctx, form=form, text=text)
        except (EngineError, LaneError) as error:
            # A form of which two processes have died is not to take the model along.
            if error.code in _REFUSALS or (error.code == "engine_crashed" and has_shape(form)):
                raise

    def _ask(self, model: str, spec: EngineSpec, question: Callable[[int], Question], kind: type[R]) -> R:
        """Asks; once more where the process died of it."""
        answer = self._ask_once(model, spec, question, kind)
        if isinstance(answer, Failed) and answer.code == "engine_crashed":
            answer = self._ask_once(model, spec, question, kind)
        if isinstance(answer, Failed):
            raise EngineError.reported(answer.code, answer.message, answer.fields)
        return answer

    def _ask_once(self, model: str, spec: EngineSpec, question: Callable[[int], Question], kind: type[R]) -> R | Failed:
        timeout_s = self._settings.now.stall_timeout
        lease = Lease(model, spec.vocabulary(), _RETRIES)
        engine = self._owner.lease(lease)
        try:
            return engine.ask(question, kind, timeout_s)
        except gevent.Timeout:
            reason = said("engine_no_answer", seconds=f"{timeout_s:g}")
            engine.kill(reason)
            raise EngineError("engine_crashed", reason=reason) from None
        finally:
            self._owner.close_lease(lease)

    def close(self, timeout_s: float) -> None:
        """Ends the processes."""
        self._owner.close(timeout_s)
