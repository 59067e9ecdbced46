"""The files that an entry names besides the model's own."""

from __future__ import annotations

import os
from pathlib import Path


def is_template(text: str) -> bool:
    """Whether a `chat_template` is Jinja text, and no name of a file."""
    return "{{" in text or "{%" in text or "\n" in text


def placed(name: str, folder: Path) -> str:
    """Where a file is that is named relative to a folder; a ~ of somebody unknown stays, and is not found."""
    return os.path.join(folder, os.path.expanduser(name))
