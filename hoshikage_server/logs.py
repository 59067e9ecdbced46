"""Logging of our own processes: plain lines on stderr. Prompts and answers are never logged."""

from __future__ import annotations

import logging

_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"


def configure(level: str | int) -> None:
    """Sends the log of hoshikage_server and hoshikage_core to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    for name in ("hoshikage_server", "hoshikage_core"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper() if isinstance(level, str) else level)
        logger.propagate = False
