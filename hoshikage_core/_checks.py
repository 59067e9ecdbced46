"""Arguments of public methods, checked where they come in: a wrong one is named, whatever type it has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hoshikage_core.errors import InvalidArgumentError, UnknownTokenError


def integer(field: str, value: object, low: int, high: int) -> int:
    """An int from ``low`` to ``high``; bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(field, f"must be an integer, not {_show(value)}")
    if not low <= value <= high:
        raise InvalidArgumentError(field, f"must be from {low} to {high}, not {_show(value)}")
    return value


def text(field: str, value: object) -> str:
    """A str that can be written as UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgumentError(field, f"must be text, not {_show(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(field, f"is not valid Unicode: {error}") from None
    return value


def text_without_nul(field: str, value: object) -> str:
    """Text of which C reads as much as comes before a NUL."""
    if "\0" in (checked := text(field, value)):
        raise InvalidArgumentError(field, "must not hold a NUL character")
    return checked


def c_text(field: str, value: object) -> bytes:
    """Text for a C function that takes no length."""
    return text_without_nul(field, value).encode("utf-8")


def texts(field: str, value: object) -> list[str]:
    """Several texts; a single one counts as a list of one."""
    if isinstance(value, str):
        return [text(field, value)]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise InvalidArgumentError(field, f"must be a list of texts, not {_show(value)}")
    return [text(field, item) for item in value]


def token_ids(field: str, value: object) -> list[int]:
    """Numbers that may be token ids; whether the vocabulary has them is for the native side to say."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise InvalidArgumentError(field, f"must be a list of token ids, not {_show(value)}")
    return [integer(field, token, -(2**31), 2**31 - 1) for token in value]


def in_vocabulary(field: str, tokens: Iterable[int], n_vocab: int) -> None:
    """Token ids that a model has."""
    unknown = next((token for token in tokens if not 0 <= token < n_vocab), None)
    if unknown is not None:
        raise UnknownTokenError(field, unknown, n_vocab)


def instance(field: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """A value of one of the given types, which ``what`` describes."""
    if not isinstance(value, kind):
        raise InvalidArgumentError(field, f"must be {what}, not {_show(value)}")
    return value


def to_json(field: str, value: object) -> bytes:
    """A value as UTF-8 JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError) as error:  # UnicodeEncodeError (a lone surrogate) is a ValueError
        raise InvalidArgumentError(field, f"cannot be written as JSON: {error}") from None
    except RecursionError:
        raise InvalidArgumentError(field, "is nested too deeply") from None


def _show(value: object) -> str:
    shown = repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "a very large number"
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
