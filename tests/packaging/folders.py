"""What is left in a folder."""

from __future__ import annotations

from pathlib import Path


def left_overs(folder: Path) -> list[str]:
    """Returns the files below a folder, lock files (always empty) aside."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return sorted(str(file.relative_to(folder)) for file in files)
