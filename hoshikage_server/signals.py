"""What signals mean to gunicorn's master.

SIGTERM   ends it: running requests may finish for `grace` (gunicorn's meaning)
SIGINT    the first one is a SIGTERM, the next one ends it at once
SIGHUP    its worker reads the settings again (gunicorn would replace the worker, and so unload the model)
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from types import FrameType
from typing import Any


def install(arbiter: Any) -> None:
    """Sets the handlers of a master that has set its own."""
    meanings = itertools.chain([signal.SIGTERM], itertools.repeat(signal.SIGINT))

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        arbiter.signal(next(meanings), frame)

    def on_hangup(number: int, frame: FrameType | None) -> None:
        for pid in list(arbiter.WORKERS):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    signal.signal(signal.SIGINT, on_interrupt)
    signal.signal(signal.SIGHUP, on_hangup)
