"""What is wrong with a file before llama.cpp sees it, whose words for these are hard to understand, or none."""

from __future__ import annotations

import os


def why_no_file(path: str) -> str | None:
    """Why this cannot be a GGUF file; None where it may be one."""
    try:
        if os.path.isdir(path):
            return "it is a folder, not a .gguf file"
        if os.path.exists(path) and not os.path.isfile(path):
            return "it is a device or a pipe, not a .gguf file"
        with open(path, "rb") as file:
            return None if file.read(1) else "the file is empty"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
