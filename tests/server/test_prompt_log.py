"""Why a prompt was computed again."""

from __future__ import annotations

import logging
from array import array
from typing import Any

import pytest

from hoshikage_server.engines.prompt_log import Finding, Prompt, PromptLog, texts_of

SYSTEM = "You are a lighthouse keeper. "
STORM = [("system", SYSTEM), ("user", "Tell me of the storm. " * 5)]
TURN = [*STORM, ("assistant", "It was dark."), ("user", "And then?")]


def prompt(messages: list[tuple[str, str]], **fields: Any) -> Prompt:
    """One whose tokens are its letters."""
    texts = texts_of([{"role": role, "content": content} for role, content in messages])
    tokens = array("i", map(ord, "".join(f"<{role}>{content}" for role, content in messages))).tobytes()
    given = {"n_cached": 0, "reuses": True, "cuts_anywhere": True, "engine": 1, **fields}
    return Prompt("m", "spec", given.pop("engine"), texts, tokens, **given)


def found(*prompts: Prompt) -> Finding:
    """What is said of the last one."""
    log = PromptLog()
    for one in prompts:
        log.note(one)
    return log.findings[-1]


def n_tokens(one: Prompt) -> int:
    return len(one.tokens) // 4


def test_a_conversation_that_goes_on() -> None:
    """All that was there was reused: there is nothing to say, at its beginning neither."""
    first = prompt(STORM)
    assert (found(first).n_expected, found(first).reason) == (0, None)
    finding = found(first, prompt(TURN, n_cached=n_tokens(first) + 10))
    assert (finding.n_expected, finding.reason) == (n_tokens(first), None)
    assert found(first, prompt(STORM, n_cached=n_tokens(first) - 1)).reason is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "evicted"),
        ({"engine": 2}, "restarted"),
        ({"cuts_anywhere": False}, "cannot_cut"),
        ({"reuses": False}, "disabled"),
    ],
)
def test_what_was_there_was_not_reused(fields: dict[str, Any], reason: str) -> None:
    """Because it had no room to stay, went with its engine, cannot be gone back to, or was not wanted."""
    first = prompt(STORM)
    finding = found(first, prompt(TURN, **fields))
    assert (finding.reason, finding.n_expected, finding.message) == (reason, n_tokens(first), None)


@pytest.mark.parametrize(
    ("changed", "message", "character"),
    [
        ([("system", f"{SYSTEM}It is 12:01. "), *STORM[1:]], 0, len(SYSTEM) + len("It is 12:0")),
        ([*STORM, ("assistant", "It was light."), ("user", "Why?")], 2, len("It was ")),
        ([*STORM, ("user", "It was dark."), ("user", "Why?")], 2, 0),
    ],
)
def test_where_a_conversation_was_changed(changed: list[tuple[str, str]], message: int, character: int) -> None:
    """The first message that differs from what it continues, and how much of it is the same."""
    before = [("system", f"{SYSTEM}It is 12:00. "), *TURN[1:]] if message == 0 else TURN
    n_same = found(prompt(before), prompt(changed)).n_expected
    finding = found(prompt(before), prompt(changed, n_cached=n_same))
    assert (finding.reason, finding.message, finding.character) == ("changed", message, character)


def test_another_conversation() -> None:
    """One under the same instructions is not a changed one."""
    other = [STORM[0], ("user", "What is your name?" * 5)]
    n_same = found(prompt(STORM), prompt(other)).n_expected
    assert found(prompt(STORM), prompt(other, n_cached=n_same)).reason is None


def test_no_text_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Counts and positions only; and what is remembered has bounds."""
    log = PromptLog()
    with caplog.at_level(logging.INFO):
        for index in range(50):
            log.note(
                prompt([("user", f"secret {index} " * 3000), ("assistant", "x"), ("user", f"secret {index}" * 90)])
            )
            log.note(prompt([("user", f"secret {index} " * 3000), ("assistant", "y"), ("user", "hidden" * 90)]))
    assert "computed_again" in caplog.text
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text
    assert len(log.findings) == 16
    assert sum(one.n_bytes for one in log._prompts) <= 2 * 1024 * 1024
    assert len(log._prompts) <= 16
