"""docs/cli.md and docs/cli.ja.md are what the commands say of themselves."""

from __future__ import annotations

import re

import pytest

from build_support.cli_reference import FILES, reference


@pytest.mark.parametrize("language", sorted(FILES))
def test_it_is_not_stale(language: str) -> None:
    """`python -m build_support.cli_reference` writes it anew."""
    assert FILES[language].read_text(encoding="utf-8") == reference(language)


def test_both_have_the_same_commands() -> None:
    """In the same order, and each in its own words."""
    english, japanese = (re.findall(r"^## (.*)$", reference(language), re.MULTILINE) for language in ("en", "ja"))
    assert english == japanese
    assert {"hoshikage model pull", "hoshikage doctor", "hoshikage add"} <= set(english)
    assert "Usage" not in reference("ja")


@pytest.mark.parametrize("language", sorted(FILES))
def test_all_of_it_is_in_the_catalogue(language: str) -> None:
    """No key of the catalogue is left in any help."""
    assert "cli_" not in reference(language).replace("cli_reference", "")
