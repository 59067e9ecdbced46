"""The one place that imports the native module: calls, errors, text and handles."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from hoshikage_core import _cuda, _logs
from hoshikage_core.errors import (
    CancelledError,
    ChatTemplateError,
    ClosedError,
    ContextFullError,
    DeadEndError,
    GrammarError,
    HoshikageError,
    InvalidArgumentError,
    NativeError,
    OutOfMemoryError,
    Reason,
    UnsupportedError,
)

try:
    from hoshikage_core._native import ffi, lib
except ImportError as error:
    raise _cuda.explained(error) from None

__all__ = ["Handle", "call", "call_text", "error_from", "ffi", "lib"]

_CLASS_OF_STATUS: dict[int, type[HoshikageError]] = {
    lib.HSK_OUT_OF_MEMORY: OutOfMemoryError,
    lib.HSK_CANCELLED: CancelledError,
    lib.HSK_CONTEXT_FULL: ContextFullError,
    lib.HSK_UNSUPPORTED: UnsupportedError,
    lib.HSK_TEMPLATE_FAILED: ChatTemplateError,
    lib.HSK_INVALID_GRAMMAR: GrammarError,
    lib.HSK_DEAD_END: DeadEndError,
}


def error_from(error: Any) -> HoshikageError:
    """The exception for a filled ``hsk_error``; statuses that need more than a message become NativeError."""
    message = ffi.string(error.message).decode("utf-8", "replace")
    if error.status == lib.HSK_INVALID_ARGUMENT:
        return InvalidArgumentError("", Reason("native", "{words}", words=message))
    known = _CLASS_OF_STATUS.get(error.status)
    return known(message) if known is not None else NativeError(error.status, message)


def call(function: Callable[..., int], *args: Any) -> None:
    """Calls a native function whose last argument is an ``hsk_error *``; raises what it reports."""
    error = ffi.new("hsk_error *")
    _logs.before_call(lib)
    status = function(*args, error)
    _logs.after_call(ffi, lib)
    if status != lib.HSK_OK:
        raise error_from(error)


def call_text(function: Callable[..., int], *args: Any) -> bytes:
    """Calls a native function whose last arguments are ``hsk_text *, hsk_error *``; returns the bytes it gave."""
    text = ffi.new("hsk_text *")
    try:
        call(function, *args, text)
        return bytes(ffi.buffer(text.data, text.n_bytes)) if text.n_bytes else b""
    finally:
        lib.hsk_text_free(text)


class Handle:
    """Owns one native object and frees it once: when closed and in no call any more, or when collected.

    ``with handle as pointer`` borrows the pointer for a call. Closing while another thread is in a call does not pull
    the object from under it: the last one out frees it. In a forked child it is of no use: its threads are not there.
    """

    def __init__(self, pointer: Any, free: Callable[[Any], None], what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._n_users = 0
        self._closed = False
        self._pid = pid = os.getpid()
        # In a child, freeing would wait for threads that only the parent has.
        self._pointer = ffi.gc(pointer, lambda owned: free(owned) if os.getpid() == pid else None)

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._closed

    @property
    def pointer(self) -> Any:
        """The pointer, for who holds a lock under which alone this handle is closed."""
        return self._pointer

    def __enter__(self) -> Any:
        with self._lock:
            if self._closed:
                raise ClosedError(f"the {self._what} is closed")
            if os.getpid() != self._pid:
                raise UnsupportedError(f"the {self._what} belongs to the parent process: load the model after the fork")
            self._n_users += 1
            return self._pointer

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_users -= 1
            self._free_if_unused()

    def close(self) -> None:
        """Lets no new call in; frees the object now, or when the last running call returns."""
        with self._lock:
            self._closed = True
            self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._closed and self._n_users == 0 and self._pointer is not None:
            pointer, self._pointer = self._pointer, None
            ffi.release(pointer)
