"""The catalogue and the choice of a language."""

from __future__ import annotations

import re
import string

import pytest

from hoshikage_server import messages
from hoshikage_server.errors import KINDS, ServerError


@pytest.mark.parametrize("key", sorted(messages.CATALOGUE))
def test_both_languages_speak_of_the_same(key: str) -> None:
    """Japanese and English have the same placeholders."""

    def names(template: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}

    message = messages.CATALOGUE[key]
    # The id is all that a person can do something with; English names the model too.
    assert names(message.ja) == names(message.en)
    assert message.ja != message.en


def test_the_file_comes_before_the_name() -> None:
    """Sentences that say how to register a model say it in the order that the command takes."""
    told = [text for message in messages.CATALOGUE.values() for text in (message.ja, message.en)]
    lines = [line for text in told for line in re.findall(r"hoshikage (?:model )?add ([^'`]*\.gguf[^'`]*)", text)]
    assert lines
    assert all(line.split()[0].endswith(".gguf") for line in lines), lines


def test_every_code_has_a_sentence() -> None:
    """Whatever can be answered can be said."""
    assert KINDS.keys() <= messages.CATALOGUE.keys()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "ja"),
        ("", "ja"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("fr, en;q=0.5", "en"),
        ("en;q=0.4, ja;q=0.6", "ja"),
        ("en;q=0", "ja"),
        ("*", "ja"),
        ("de", "ja"),
        (";;;,,q=,en;q=x", "ja"),
    ],
)
def test_choice_of_language(header: str | None, language: str) -> None:
    """The client's best one that we have; otherwise the server's."""
    assert messages.choose(header, "ja") == language


def test_a_sentence_without_its_values_is_shown_bare() -> None:
    """Telling of an error must not fail."""
    assert "{limit}" in ServerError("request_too_large").text("en")
    assert ServerError("no_such_code").text("ja") == "no_such_code"
