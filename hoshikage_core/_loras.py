"""LoRA adapters on their way into a context."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core.errors import AdapterLoadError, InvalidArgumentError, NativeError, Reason
from hoshikage_core.files import why_no_file

if TYPE_CHECKING:
    from hoshikage_core.model import Model

StrPath = str | os.PathLike[str]
Lora = tuple[StrPath, float]

_SCALE_MAX = 1e6


@contextlib.contextmanager
def native_loras(model: Model, loras: Sequence[Lora]) -> Iterator[tuple[Any, Any, int]]:
    """The native arguments of adapters for a new context, which keeps those that it needs.

    Args:
        model: The model they are for.
        loras: Files, and how strongly each acts.

    Raises:
        AdapterLoadError: A file is no adapter for this model.
        InvalidArgumentError: These are no pairs of a path and a number.
    """
    handles: list[Handle] = []
    try:
        pairs = list(_checked(loras))
        for path, _ in pairs:
            handles.append(Handle(_load(model, path), lib.hsk_lora_free, "adapter"))
        pointers = ffi.new("hsk_lora *[]", [handle.pointer for handle in handles])
        yield pointers, ffi.new("float[]", [scale for _, scale in pairs]), len(handles)
    finally:
        for handle in handles:
            handle.close()


def loras_bytes(loras: Sequence[Lora]) -> int:
    """What adapters take of memory: as much as their files; those that are not there take nothing."""
    total = 0
    for path, _ in _checked(loras):
        with contextlib.suppress(OSError, ValueError):
            total += os.path.getsize(path)
    return total


def _checked(loras: Sequence[Lora]) -> Iterator[tuple[str, float]]:
    if isinstance(loras, (str, bytes)) or not isinstance(loras, Iterable):
        raise InvalidArgumentError("lora", Reason("no_pairs", "must be a list of pairs: a path and a number"))
    for pair in loras:
        if not isinstance(pair, Sequence) or isinstance(pair, (str, bytes)) or len(pair) != 2:
            raise InvalidArgumentError("lora", Reason("no_pairs", "must be a list of pairs: a path and a number"))
        path, scale = pair
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not abs(scale) <= _SCALE_MAX:
            text = "must have numbers from {low:g} to {high:g}"
            raise InvalidArgumentError("lora", Reason("lora_scale", text, low=-_SCALE_MAX, high=_SCALE_MAX))
        yield os.fsdecode(_checks.instance("lora", path, (str, bytes, os.PathLike), "a path")), float(scale)


def _load(model: Model, path: str) -> Any:
    reason = why_no_file(path)
    if reason is not None:
        raise AdapterLoadError(path, reason)
    out = ffi.new("hsk_lora **")
    try:
        with model.native as native:
            call(lib.hsk_lora_load, native, os.fsencode(path), out)
    except NativeError as error:
        if error.status == lib.HSK_MODEL_LOAD_FAILED:
            raise AdapterLoadError(path, Reason("adapter_refused", "{words}", words=str(error))) from None
        raise
    return out[0]
