"""What goes wrong in the engine process, on its way to the server."""

from __future__ import annotations

import logging

from hoshikage_core import (
    HoshikageError,
    InsufficientMemoryError,
    InvalidArgumentError,
    Reason,
    UnsupportedError,
)
from hoshikage_core.errors import Value
from hoshikage_server import logs
from hoshikage_server.engines import wire
from hoshikage_server.messages import Said, Sentence, Size, of_number, said

_LOAD_FAILED = "model_load_failed"
# What may be told of a load that failed; everything else is model_load_failed.
LOAD_CODES = frozenset(
    {
        *(_LOAD_FAILED, "model_file_missing", "insufficient_memory", "out_of_memory", "gpu_required"),
        "rpc_server_failed",
        *("adapter_load_failed", "draft_model_failed", "template_file_failed", "template_load_failed"),
    }
)

log = logging.getLogger("hoshikage_server.engines.worker")


class CannotGenerateError(HoshikageError):
    """The model embeds, and generates no text."""

    code = "model_cannot_generate"


class CannotEmbedError(HoshikageError):
    """The model rates how well texts fit together (a reranker), and has no embeddings."""

    code = "model_cannot_embed"


class DraftModelError(HoshikageError):
    """The draft model that the model map names cannot be used with the model."""

    code = "draft_model_failed"

    def __init__(self, path: str, reason: Reason) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


class ModelFileMissingError(HoshikageError):
    """The file that the model map names, or another part of the model, is not there."""

    code = "model_file_missing"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no file {path}")
        self.path = path


class TemplateLoadError(HoshikageError):
    """The chat template that stands in the model map cannot be used."""

    code = "template_load_failed"

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class TemplateFileError(TemplateLoadError):
    """The chat template in a file that the model map names cannot be used."""

    code = "template_file_failed"

    def __init__(self, path: str, reason: Reason) -> None:
        super().__init__(reason)
        self.path = path


class TooManyDimensionsError(HoshikageError):
    """The model's vectors have fewer numbers than were asked for."""

    code = "integer_above_max_value"

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(f"{got} dimensions of {limit}")
        self.got = got
        self.limit = limit


def failed(request_id: int, error: Exception, **more: int) -> wire.Failed:
    """The frame that tells of an error, with the error's data and what else is known.

    One that nobody foresaw is logged without its words, which may quote what somebody wrote.
    """
    if not isinstance(error, HoshikageError):
        log.error(said("log_request_failed", way=logs.way_of(error)))
        return wire.Failed(request_id, "internal_error", type(error).__name__)
    values = vars(error) | more
    fields = {name: _plain(value) for name, value in values.items() if isinstance(value, (int, float, str, Said))}
    return wire.Failed(request_id, error.code, str(error), {**fields})


def failed_load(error: Exception) -> wire.Failed:
    """The frame that tells of a load that came to nothing; what a client may not be told of has a reason for it."""
    if not isinstance(error, HoshikageError):
        return wire.Failed(0, _LOAD_FAILED, str(error), {"reason": _reason("load_unexpected", type(error).__name__)})
    frame = failed(0, error)
    if error.code in LOAD_CODES:
        return frame
    if isinstance(error, InvalidArgumentError) and error.field:
        reason = said("reason_load_argument", field=error.field, reason=of_reason(error.reason))
    else:
        reason = _reason("load_unsupported" if isinstance(error, UnsupportedError) else "load_broke", str(error))
    return wire.Failed(0, _LOAD_FAILED, str(error), {**frame.fields, "reason": reason})


def in_words(error: Exception) -> Sentence | str:
    """An error in a sentence of the log."""
    if isinstance(error, InsufficientMemoryError):
        return said("memory_short", needed=Size(error.needed_bytes), free=Size(error.free_bytes))
    reason = getattr(error, "reason", None)
    if isinstance(reason, Said):
        return reason
    return of_reason(reason) if isinstance(reason, Reason) else str(error)


def of_reason(reason: Reason) -> Said:
    """A reason of hoshikage_core's as a sentence of the catalogue."""
    if reason.key == "os_error":
        return of_number(int(reason.values["errno"]), str(reason))
    values = {name: _plain(inner) for name, inner in reason.values.items()}
    return Said(f"reason_{reason.key}", values, str(reason))


def _reason(key: str, words: str) -> Said:
    return said(f"reason_{key}", words=words)


def _plain(value: Value | Said) -> int | float | str | Said:
    if isinstance(value, Reason):
        return of_reason(value)
    return int(value) if isinstance(value, bool) else value
