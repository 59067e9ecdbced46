"""Arguments of public methods, checked where they come in: a wrong one is named, whatever type it has."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hoshikage_core.errors import InvalidArgumentError, Reason, UnknownTokenError

_THREADS_MAX = 512  # ggml's GGML_MAX_N_THREADS


def integer(field: str, value: object, low: int, high: int) -> int:
    """An int from ``low`` to ``high``; bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(field, Reason("no_integer", "must be an integer, not {got}", got=_show(value)))
    if not low <= value <= high:
        text = "must be from {low} to {high}, not {got}"
        raise InvalidArgumentError(field, Reason("out_of_bounds", text, low=str(low), high=str(high), got=_show(value)))
    return value


def text(field: str, value: object) -> str:
    """A str that can be written as UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgumentError(field, Reason("no_text", "must be text, not {got}", got=_show(value)))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            field, Reason("no_unicode", "is not valid Unicode: {words}", words=str(error))
        ) from None
    return value


def text_without_nul(field: str, value: object) -> str:
    """Text of which C reads as much as comes before a NUL."""
    if "\0" in (checked := text(field, value)):
        raise InvalidArgumentError(field, Reason("has_nul", "must not hold a NUL character"))
    return checked


def c_text(field: str, value: object) -> bytes:
    """Text for a C function that takes no length."""
    return text_without_nul(field, value).encode("utf-8")


def texts(field: str, value: object) -> list[str]:
    """Several texts; a single one counts as a list of one."""
    if isinstance(value, str):
        return [text(field, value)]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise InvalidArgumentError(field, Reason("no_texts", "must be a list of texts, not {got}", got=_show(value)))
    return [text(field, item) for item in value]


def token_ids(field: str, value: object) -> list[int]:
    """Numbers that may be token ids; whether the vocabulary has them is for the native side to say."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise InvalidArgumentError(
            field, Reason("no_tokens", "must be a list of token ids, not {got}", got=_show(value))
        )
    tokens = list(value)
    if set(map(type, tokens)) == {int} and min(tokens) >= -(2**31) and max(tokens) < 2**31:  # a prompt has thousands
        return tokens
    return [integer(field, token, -(2**31), 2**31 - 1) for token in tokens]


def in_vocabulary(field: str, tokens: Collection[int], n_vocab: int) -> None:
    """Token ids that a model has."""
    if not tokens or (min(tokens) >= 0 and max(tokens) < n_vocab):
        return
    unknown = next((token for token in tokens if not 0 <= token < n_vocab), None)
    if unknown is not None:
        raise UnknownTokenError(field, unknown, n_vocab)


def threads(field: str, value: object) -> int:
    """A number of threads."""
    return integer(field, value, 1, _THREADS_MAX)


def instance(field: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """A value of one of the given types, which ``what`` describes."""
    if not isinstance(value, kind):
        reason = Reason("wrong_kind", "must be {what}, not {got}", what=what, got=_show(value))
        raise InvalidArgumentError(field, reason)
    return value


def to_json(field: str, value: object) -> bytes:
    """A value as UTF-8 JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError) as error:  # UnicodeEncodeError (a lone surrogate) is a ValueError
        raise InvalidArgumentError(
            field, Reason("not_as_json", "cannot be written as JSON: {words}", words=str(error))
        ) from None
    except RecursionError:
        raise InvalidArgumentError(field, Reason("too_deep", "is nested too deeply")) from None


def _show(value: object) -> str:
    shown = repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "a very large number"
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
