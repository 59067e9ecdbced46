"""A chat template that stands in the model map instead of the model's own."""

from __future__ import annotations

import os

from hoshikage_core import ChatTemplate, HoshikageError, Model, Reason
from hoshikage_server.engines.engine_spec import EngineSpec, SpecFile
from hoshikage_server.engines.failures import TemplateFileError, TemplateLoadError

_FILE_BYTES_MAX = 4 * 1024 * 1024


def template_text(spec: EngineSpec) -> str | None:
    """The Jinja text; None: the model's own.

    Raises:
        TemplateFileError: Its file cannot be read.
    """
    if not isinstance(spec.chat_template, SpecFile):
        return spec.chat_template
    path = spec.chat_template.path
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for its other end
            raise TemplateFileError(path, Reason("template_no_file", "it is no file"))
        with open(path, "rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        if len(content) > _FILE_BYTES_MAX:
            reason = Reason("template_too_large", "it has more than {limit} bytes", limit=_FILE_BYTES_MAX)
            raise TemplateFileError(path, reason)
        text = content.decode("utf-8-sig")
    except OSError as error:
        reason = Reason("os_error", "{words}", words=error.strerror or str(error), errno=error.errno or 0)
        raise TemplateFileError(path, reason) from error
    except ValueError as error:  # no UTF-8, or a zero byte in the path
        raise TemplateFileError(path, Reason("template_no_utf8", "{words}", words=str(error))) from error
    if not text.strip():
        raise TemplateFileError(path, Reason("template_empty", "there is nothing in it"))
    return text


def open_template(model: Model, spec: EngineSpec, text: str | None) -> ChatTemplate | None:
    """The template for a model; None: its own.

    Raises:
        TemplateLoadError: It is no Jinja that can be used.
    """
    if text is None:
        return None
    try:
        return model.chat(text)
    except HoshikageError as error:
        reason = Reason("template_refused", "{words}", words=str(error))
        if isinstance(spec.chat_template, SpecFile):
            raise TemplateFileError(spec.chat_template.path, reason) from error
        raise TemplateLoadError(reason) from error
