"""A persona: a named way to answer, and how it is written as TOML. Nothing here touches a file.

    name = { ja = "俳人", en = "Poet" }
    system = "Answer in haiku."
    language = "auto"
    sampling = { temperature = 0.9 }
    examples = [{ user = "Good morning", assistant = "Dew upon the leaves..." }]

Only `name` has to be there. Texts for people and the system prompt are one text, or one for each language. What is not
known is refused: most likely it is a typo.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta

from hoshikage_server import invalid, toml_text
from hoshikage_server.engines.sampling import Sampling, Text
from hoshikage_server.errors import PersonaError, RequestError, ServerError
from hoshikage_server.messages import LANGUAGES, Sentence, said

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_BYTES_MAX = 1024 * 1024
ID_MAX = 64
_ID_BYTES_MAX = 200  # of a file's name, with room for what a temporary one adds

AnswerLanguage = Literal["ja", "en", "auto"]
_Short = Annotated[str, Meta(min_length=1, max_length=2000)]
_Long = Annotated[str, Meta(min_length=1, max_length=100_000)]
# No address: who looks at a persona somebody made would tell its server of that.
_AVATAR = r"^([^:/\s]{1,16}|data:image/[a-z0-9.+-]+[;,]\S*)$" + invalid.NO_LINE_END

_LONG_TEXT = re.compile(r'("""|\'\'\').*?\1', re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)(?:\[(\d+)\])?")


class ShortTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A short text in both languages."""

    ja: _Short
    en: _Short


class LongTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text in both languages."""

    ja: _Long
    en: _Long


class PersonaSampling(Sampling, frozen=True, forbid_unknown_fields=True):
    """How a persona chooses tokens, where a request does not say."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and how it is answered."""

    user: _Long
    assistant: _Long


class Persona(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a persona says.

    Attributes:
        name: What people call it.
        description: A word about it.
        avatar: Its picture: an emoji or a few letters, or an image within a data:image/ URL.
        model: The registered model that it runs on; without it the first one that can chat.
        language: What it answers in; "auto": in the language it is written to in.
        thinking: Whether a reasoning model reasons.
        stop: Texts that end an answer, besides those of the request and of the model.
        greeting: What it says when a chat begins. Clients show it; the model does not see it.
        system: Its system prompt. A client's own one is added to it.
        sampling: How tokens are chosen where the request does not say.
        examples: Turns that every conversation begins with, for the model only.
    """

    name: _Short | ShortTexts
    description: _Short | ShortTexts | None = None
    avatar: Annotated[str, Meta(max_length=65_536, pattern=_AVATAR)] | None = None
    model: Text | None = None
    language: AnswerLanguage | None = None
    thinking: bool | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=16)] = ()
    greeting: _Long | LongTexts | None = None
    system: _Long | LongTexts | None = None
    sampling: PersonaSampling = PersonaSampling()
    examples: Annotated[tuple[Example, ...], Meta(max_length=64)] = ()

    def spoken(self, asked: str | None, language: str) -> str:
        """Which of its texts are used: those of the language asked for, or of its own, or else of the person's."""
        return next((one for one in (asked, self.language) if one in LANGUAGES), None) or language


_TEXTS = "ja, en"
WORDS = {
    "language": "'ja', 'en', 'auto'",
    "": ", ".join(Persona.__struct_fields__),
    "sampling": ", ".join(Sampling.__struct_fields__),
    "examples": ", ".join(Example.__struct_fields__),
    **dict.fromkeys(("name", "description", "greeting", "system"), _TEXTS),
}
_decoder = msgspec.json.Decoder(Persona)


def in_language(text: str | ShortTexts | LongTexts | None, language: str) -> str:
    """A text of a persona's; empty where there is none."""
    if text is None or isinstance(text, str):
        return text or ""
    return text.ja if language == "ja" else text.en


def checked_id(name: str) -> str:
    """A persona's id in the one form that it has (Unicode's NFC).

    Raises:
        RequestError: It cannot be one: it is part of a file's name, and stands behind the @ of "model@persona".
    """
    name = unicodedata.normalize("NFC", name)
    is_plain = all(char in "-_." or unicodedata.category(char)[0] in "LMN" for char in name)
    if not (is_plain and name[:1].isalnum() and len(name) <= ID_MAX and len(name.encode()) <= _ID_BYTES_MAX):
        raise RequestError("invalid_persona_id", param="id", name=invalid.show(name), limit=ID_MAX)
    return name


def from_toml(content: bytes, path: Path) -> Persona:
    """The persona of a file.

    Args:
        content: What is in it.
        path: The file, to be named in an error.

    Raises:
        PersonaError: It is no TOML, or a field of it cannot be; the error names the line, if it can be told, and the
            field.
    """
    if len(content) > FILE_BYTES_MAX:
        raise unusable(path, said("persona_too_large", limit=FILE_BYTES_MAX))
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        raise unusable(path, said("toml_not_utf8"), content[: error.start].count(b"\n") + 1) from None
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:  # ValueError: a number of too many digits
        raise unusable(path, *toml_text.fault(text, error)) from None
    try:
        return _from_values(values)
    except ServerError as error:
        raise unusable(path, error, _line_of(text, error.param or "")) from None


def refused(complaint: str, body: bytes) -> RequestError:
    """The error for a persona that msgspec found fault with."""
    return in_words(invalid.from_validation(complaint, body, WORDS))


def in_words(error: RequestError) -> RequestError:
    """The same error; of an avatar, what it may be rather than the pattern that says so."""
    if (error.code, error.param) != ("string_does_not_match", "avatar"):
        return error
    return RequestError("persona_avatar", param=error.param, got=error.values["got"])


def to_toml(persona: Persona) -> bytes:
    """A file of a persona."""
    values = {name: getattr(persona, name) for name in Persona.__struct_fields__}  # of a subclass nothing else
    plain: dict[str, Any] = msgspec.to_builtins(Persona(**values), str_keys=True)
    has_returns = "\r" in json.dumps(plain, ensure_ascii=False).replace("\\r", "\r")
    return tomli_w.dumps(plain, multiline_strings=not has_returns).encode()


def unusable(path: Path, reason: Sentence, line: int | None = None) -> PersonaError:
    """The error for a file, and a line of it, as compilers name them."""
    return PersonaError("invalid_persona", where=path if line is None else f"{path}:{line}", reason=reason)


def _from_values(values: dict[str, Any]) -> Persona:
    try:
        _check_values(values)
        body = json.dumps(values).encode()
    except (RecursionError, ValueError) as error:  # ValueError: a number of too many digits
        raise ServerError("toml_bad_value", words=str(error)) from None
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refused(str(error), body) from None


def _check_values(value: Any, param: str = "") -> None:
    """Refuses what TOML has and JSON has not."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_values(inner, f"{param}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_values(inner, f"{param}[{index}]")
    elif isinstance(value, (datetime.date, datetime.time)):
        raise ServerError("persona_date", param=param)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ServerError("persona_number", param=param)


def _line_of(text: str, param: str) -> int | None:
    """Where a field stands in a file, as well as a look at its lines can tell."""
    text = _LONG_TEXT.sub(lambda found: "\n" * found[0].count("\n"), text)
    line, begin = None, 0
    for name, index in _STEP.findall(param):
        key = re.compile(rf"""(?m)^[ \t]*(?:\[+[ \t]*)?(?:[\w."']+\.)?["']?{re.escape(name)}["']?[ \t]*[=.\]]""")
        places = [found.start() for found in key.finditer(text, begin)]
        if not places:
            break
        begin = places[min(int(index or 0), len(places) - 1)]
        line = text.count("\n", 0, begin) + 1
    return line
