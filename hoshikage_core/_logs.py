"""llama.cpp's log lines as Python log records.

They go to the logger ``hoshikage_core.native``, which is off until somebody gives it a level::

    logging.getLogger("hoshikage_core.native").setLevel(logging.INFO)
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

logger = logging.getLogger("hoshikage_core.native")
logger.setLevel(logging.CRITICAL + 1)

_PYTHON_OF_NATIVE = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}


def _native_level() -> int:
    level = logger.getEffectiveLevel()
    return next((native for native, python in _PYTHON_OF_NATIVE.items() if python >= level), 0)


def before_call(lib: Any) -> None:
    """Tells the native side what is worth keeping."""
    lib.hsk_log_level_set(_native_level())


def after_call(ffi: Any, lib: Any) -> None:
    """Emits what the native side logged since the last call."""
    if _native_level() == 0:
        return
    level, text, error = ffi.new("int32_t *"), ffi.new("hsk_text *"), ffi.new("hsk_error *")
    while lib.hsk_log_take(level, text, error) == lib.HSK_OK and level[0] != 0:
        line = bytes(ffi.buffer(text.data, text.n_bytes)).decode("utf-8", "replace")
        lib.hsk_text_free(text)
        # A filter or handler that raises must not hide what the native call has to say.
        with contextlib.suppress(Exception):
            logger.log(_PYTHON_OF_NATIVE.get(level[0], logging.INFO), "%s", line)
