"""What goes wrong in the engine process, on its way to the server."""

from __future__ import annotations

import logging

from hoshikage_core import HoshikageError
from hoshikage_server import logs
from hoshikage_server.engines import wire
from hoshikage_server.messages import said

# What may be told of a load that failed; everything else is model_load_failed.
LOAD_CODES = frozenset(
    {
        *("model_load_failed", "model_file_missing", "insufficient_memory"),
        *("adapter_load_failed", "template_file_failed", "template_load_failed"),
    }
)

log = logging.getLogger("hoshikage_server.engines.worker")


class CannotGenerateError(HoshikageError):
    """The model embeds, and generates no text."""

    code = "model_cannot_generate"


class CannotEmbedError(HoshikageError):
    """The model rates how well texts fit together (a reranker), and has no embeddings."""

    code = "model_cannot_embed"


class ModelFileMissingError(HoshikageError):
    """The file that the model map names, or another part of the model, is not there."""

    code = "model_file_missing"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no file {path}")
        self.path = path


class TemplateLoadError(HoshikageError):
    """The chat template that stands in the model map cannot be used."""

    code = "template_load_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TemplateFileError(TemplateLoadError):
    """The chat template in a file that the model map names cannot be used."""

    code = "template_file_failed"

    def __init__(self, path: str, reason: str) -> None:
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
    values = {name: int(value) if isinstance(value, bool) else value for name, value in vars(error).items()} | more
    fields: dict[str, int | float | str | None] = {
        name: value for name, value in values.items() if isinstance(value, (int, float, str))
    }
    return wire.Failed(request_id, error.code, str(error), fields)
