"""What signals mean to gunicorn's master.

SIGTERM   ends it: running requests may finish for `grace` (gunicorn's meaning)
SIGINT    the first one is a SIGTERM, the next one ends it at once
SIGHUP    its worker reads the settings again (gunicorn would replace the worker, and so unload the model);
          when it comes because its terminal has been closed, it is a SIGTERM
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from types import FrameType
from typing import Any


def lives_in_terminal() -> bool:
    """Whether this process shall end with its terminal. To be asked before gunicorn sets handlers: nohup's is lost."""
    return signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()


def install(arbiter: Any, ends_with_terminal: bool) -> None:
    """Sets the handlers of a master that has set its own."""
    meanings = itertools.chain([signal.SIGTERM], itertools.repeat(signal.SIGINT))

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        arbiter.signal(next(meanings), frame)

    def on_hangup(number: int, frame: FrameType | None) -> None:
        if ends_with_terminal and not _has_terminal():
            arbiter.signal(signal.SIGTERM, frame)
            return
        for pid in list(arbiter.WORKERS):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    signal.signal(signal.SIGINT, on_interrupt)
    signal.signal(signal.SIGHUP, on_hangup)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
