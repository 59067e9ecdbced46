"""What is wrong with a file before llama.cpp sees it, whose words for these are hard to understand, or none."""

from __future__ import annotations

import os

from hoshikage_core.errors import Reason


def why_no_file(path: str) -> Reason | None:
    """Why this cannot be a GGUF file; None where it may be one."""
    try:
        if os.path.isdir(path):
            return Reason("is_folder", "it is a folder, not a .gguf file")
        if os.path.exists(path) and not os.path.isfile(path):
            return Reason("is_device", "it is a device or a pipe, not a .gguf file")
        with open(path, "rb") as file:
            return None if file.read(1) else Reason("is_empty", "the file is empty")
    except OSError as error:
        text = error.strerror or str(error)
        return Reason("os_error", "{words}", words=text, errno=error.errno or 0)
    except ValueError as error:
        return Reason("no_path", "{words}", words=str(error))
