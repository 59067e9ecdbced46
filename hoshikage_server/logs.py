"""Logging of our own processes: plain lines on stderr. Prompts and answers are never logged."""

from __future__ import annotations

import json
import logging
import re
import traceback

_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"
_WORD = re.compile(r"[\w.,:/@+\[\]-]+")
_LOGGERS = tuple(logging.getLogger(name) for name in ("hoshikage_server", "hoshikage_core"))


def configure(level: str | int) -> None:
    """Sends the log of hoshikage_server and hoshikage_core to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    for logger in _LOGGERS:
        logger.handlers = [handler]
        logger.propagate = False
    set_level(level)


def set_level(level: str | int) -> None:
    """Sets from which level on they log."""
    for logger in _LOGGERS:
        logger.setLevel(level.upper() if isinstance(level, str) else level)


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
