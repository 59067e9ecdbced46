"""How an engine guesses what comes next, to compute several tokens in one step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hoshikage_core import _checks
from hoshikage_core.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from hoshikage_core.model import Model

_N_MAX = 256
_NGRAM_MAX = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speculation:
    """Guesses what comes next, and computes the guesses together with the token before them.

    The model still decides about every token: a guess only counts where it is the token that is sampled in its place.
    So the answers are those of an engine without, except that tokens computed together round differently than tokens
    computed one by one. How many are guessed depends on how many were right lately, and on what computing them costs.

    Attributes:
        draft_model: A smaller model with the same vocabulary, which is asked. None: what followed the last tokens where
            they stood before, in the prompt or in the answer; that takes no time, and is right where text is repeated.
        n_max: Guesses in a step at most.
        n_ngram: Without a draft model: how many last tokens have to have stood there.
        p_min: With a draft model: how sure it has to be of a token, from 0 to 1.

    Raises:
        InvalidArgumentError: A value is out of range.
    """

    draft_model: Model | None = None
    n_max: int = 16
    n_ngram: int = 4
    p_min: float = 0.75

    def __post_init__(self) -> None:
        """Checks the values."""
        from hoshikage_core.model import Model

        if self.draft_model is not None:
            _checks.instance("draft_model", self.draft_model, Model, "a Model")
        _checks.integer("n_max", self.n_max, 1, _N_MAX)
        if not isinstance(self.p_min, int | float) or not 0 <= self.p_min <= 1:
            text = "must be from {low} to {high}, not {got}"
            reason = Reason("out_of_bounds", text, low="0", high="1", got=str(self.p_min))
            raise InvalidArgumentError("p_min", reason)
        _checks.integer("n_ngram", self.n_ngram, 1, min(self.n_max, _NGRAM_MAX))
