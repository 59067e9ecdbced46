"""Sentences for people, in Japanese and English; `code` and `type` of an error never depend on them."""

from __future__ import annotations

import errno
from typing import Any, Protocol, runtime_checkable

import msgspec

from hoshikage_server.messages.catalogue import CATALOGUE
from hoshikage_server.messages.message import Message

LANGUAGES = ("ja", "en")
_VALUE_MAX = 1000  # characters: a request's body may be one long name

__all__ = [
    "CATALOGUE",
    "LANGUAGES",
    "Message",
    "Said",
    "Sentence",
    "Size",
    "Words",
    "choose",
    "of_number",
    "said",
    "text",
    "told_by_system",
]


class Words(tuple[str, ...]):
    """Keys of the catalogue as a value of a message: their sentences, joined by "or". What is no key stands as is."""


class Size(int):
    """A number of bytes, which a message shows as "1.50 GiB"."""

    def __str__(self) -> str:
        if abs(self) < 1000 * 1024**2:
            return f"{self / 1024**2:.1f} MiB"
        return f"{self / 1024**3:.2f} GiB"


@runtime_checkable
class Sentence(Protocol):
    """What can be put into words: something that was said, or an error. As a value of a message, in its language."""

    def text(self, language: str) -> str:
        """The sentence in a language."""


class Said(msgspec.Struct, frozen=True):
    """A sentence that gets its words when it is known who reads it; for a program, as a string, it is English.

    Attributes:
        key: Which one of the catalogue.
        values: What it speaks of; anything in one process, and of these types on the way to another.
        english: What stands for it where the catalogue has no such sentence: somebody else's words.
    """

    key: str
    values: dict[str, int | float | str | Said] = {}
    english: str = ""

    def text(self, language: str) -> str:
        """The sentence in a language."""
        if self.key not in CATALOGUE and self.english:
            return self.english
        return text(self.key, language, **self.values)

    def __str__(self) -> str:
        return self.text("en")

    def __hash__(self) -> int:
        return hash(self.key)


def said(key: str, /, **values: Any) -> Said:
    """A sentence for a log, or for the value of another one."""
    return Said(key, values)


def told_by_system(error: OSError) -> Said:
    """What the system says of an error; of one without a number, as of an address that nobody knows, its own words."""
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    return of_number(number or 0, error.strerror or str(error) or type(error).__name__)


def of_number(number: int, words: str) -> Said:
    """The same of an error of which no more is known than its number and the system's words."""
    return Said(f"os_{errno.errorcode.get(number, 'unknown').lower()}", english=words)


def text(key: str, language: str, /, **values: object) -> str:
    """The sentence `key` in a language, with its placeholders filled.

    A sentence that lacks one of its values is still shown, bare: failing here would hide the error it tells of.
    """
    message = CATALOGUE.get(key)
    if message is None:
        return key
    template = message.ja if language == "ja" else message.en
    try:
        return template.format(**{name: _in_language(value, language) for name, value in values.items()})
    except (KeyError, IndexError):
        return template


def choose(accept_language: str | None, default: str) -> str:
    """The language a client prefers among those we have (RFC 9110, 12.5.4), or else the server's."""
    best, best_quality = default, 0.0
    for item in (accept_language or "").split(",")[:16]:
        tag, _, parameter = item.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def _in_language(value: object, language: str) -> object:
    if isinstance(value, str) and len(value) > _VALUE_MAX:
        return value[: _VALUE_MAX - 1] + "…"
    if isinstance(value, Sentence):
        return value.text(language)
    if not isinstance(value, Words):
        return value
    return text("or", language).join(text(key, language) for key in value)


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
