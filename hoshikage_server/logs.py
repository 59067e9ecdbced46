"""Logging of our own processes: plain lines on stderr. Prompts and answers are never logged."""

from __future__ import annotations

import copy
import json
import logging
import re
import traceback

from hoshikage_server.messages import Sentence

_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"
_WORD = re.compile(r"[\w.,:/@+\[\]-]+")
_LOGGERS = tuple(logging.getLogger(name) for name in ("hoshikage_server", "hoshikage_core"))


def configure(level: str | int, language: str) -> None:
    """Sends the log of hoshikage_server and hoshikage_core to stderr.

    Args:
        level: From which level on they log.
        language: Of its sentences; those of hoshikage_core, and lines of fields, are the same in all.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(language))
    for logger in _LOGGERS:
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper() if isinstance(level, str) else level)


class _Formatter(logging.Formatter):
    """Puts what is said into a language."""

    def __init__(self, language: str) -> None:
        super().__init__(_FORMAT)
        self._language = language

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        sentence: object = record.msg
        if isinstance(sentence, Sentence):
            record = copy.copy(record)  # the same one goes to other handlers
            record.msg = sentence.text(self._language)
        return super().format(record)


def fields(**values: object) -> str:
    """An event as `name=value` pairs in their order: `-` for None, JSON strings where there is more than a word."""
    return " ".join(f"{name}={_word(value)}" for name, value in values.items())


def way_of(error: BaseException) -> str:
    """A traceback of names and places only: the words of an exception may quote what a client wrote."""
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if origin is None else way_of(origin)
    return f"{before}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}\n"


def _word(value: object) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text if _WORD.fullmatch(text) else json.dumps(text, ensure_ascii=False)
