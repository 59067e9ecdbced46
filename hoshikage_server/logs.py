"""Logging of our own processes: plain lines on stderr. Prompts and answers are never logged."""

from __future__ import annotations

import logging

_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"
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
