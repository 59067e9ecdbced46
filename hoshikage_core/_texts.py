"""Texts that grow, cut into tokens once: the next prompt of a conversation begins with the text of the one before."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoshikage_core._ffi import call, ffi, lib

if TYPE_CHECKING:
    from hoshikage_core.model import Model

_N_KEPT = 8  # conversations
_N_LOOKED_AT = 64  # tokens at the end of a text, among which its last border is looked for


@dataclass(frozen=True)
class _Beginning:
    """A text up to a border, and its tokens."""

    text: str
    tokens: array[int]


class GrowingTexts:
    """Cuts rendered chats into tokens; of a text that goes on where an earlier one stood, only the new part.

    The parts meet at a border: a special token after which the vocabulary cuts what follows as if it stood alone.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._is_border: dict[int, bool] = {}
        self._known: tuple[_Beginning, ...] = ()  # replaced as a whole: several threads may be here

    def tokenize(self, text: str) -> list[int]:
        """As ``Model.tokenize(text, parse_special=True)``."""
        known = [beginning for beginning in self._known if text.startswith(beginning.text)]
        longest = max(known, key=lambda beginning: len(beginning.text), default=None)
        if longest is None:
            tokens = self._model.tokenize(text, parse_special=True)
        else:
            tokens = [*longest.tokens, *self._rest(text[len(longest.text) :])]
        beginning = self._beginning(text, tokens)
        if beginning is not None:
            others = [one for one in self._known if one is not longest and one.text != beginning.text]
            self._known = (beginning, *others[: _N_KEPT - 1])
        return tokens

    def _rest(self, text: str) -> list[int]:
        """The tokens of what follows a border."""
        return self._model.tokenize(text, add_special=False, parse_special=True)

    def _beginning(self, text: str, tokens: list[int]) -> _Beginning | None:
        """What of a text the next one may begin with: all up to its last border."""
        for n in range(len(tokens), max(len(tokens) - _N_LOOKED_AT, 0), -1):
            token = tokens[n - 1]
            if self._ends_part(token):
                written = self._model.token_to_bytes(token, special=True).decode("utf-8", "replace")
                at = text.rfind(written)
                end = at + len(written)
                # What is written last need not be this token: another one may end with the same text.
                is_there = at >= 0 and self._rest(text[end:]) == tokens[n:]
                return _Beginning(text[:end], array("i", tokens[:n])) if is_there else None
        return None

    def _ends_part(self, token: int) -> bool:
        is_border = self._is_border.get(token)
        if is_border is None:
            out = ffi.new("int32_t *")
            with self._model.native as pointer:
                call(lib.hsk_token_is_border_get, pointer, token, out)
            is_border = self._is_border[token] = bool(out[0])
        return is_border
