"""The language of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from hoshikage_server import logs
from hoshikage_server.errors import SettingsError
from hoshikage_server.messages import said

log = logging.getLogger("hoshikage_server.test_logs")


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """As they were before."""
    own = [logging.getLogger(name) for name in ("hoshikage_server", "hoshikage_core")]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in own]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(("language", "word"), [("en", "settings were read again"), ("ja", "設定を読み直しました")])
def test_sentences_are_in_the_servers_language(language: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the errors in them, and those that are logged as they are; fields and words of others stay."""
    error = SettingsError("port", said("unknown_setting"))
    logs.configure("info", language)
    log.info(said("log_settings_kept", reason=error))
    log.error(error)
    log.info("%s", logs.fields(id="req_1", code="engine_crashed"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert word in first
    assert error.text(language) in first
    assert second.endswith(error.text(language))
    assert third.endswith("id=req_1 code=engine_crashed")


def test_the_language_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    """As settings do while the server runs; no line is written twice."""
    for language in ("ja", "en"):
        logs.configure("info", language)
        log.info(said("log_accepting_again"))
    japanese, english = capsys.readouterr().err.splitlines()
    assert "接続" in japanese
    assert "accepted again" in english
