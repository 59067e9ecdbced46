"""Whether a file is a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hoshikage_server.registry.gguf_header import read_header


@dataclass(frozen=True)
class Inspection:
    """What is known of a model's file."""

    arch: str


def inspect(file: Path, timeout_s: float = 60.0) -> Inspection:
    """Reads its header.

    Raises:
        ServerError: It is no model, or not a whole one.
    """
    return Inspection(str(read_header(file).values.get("general.architecture", "")))
