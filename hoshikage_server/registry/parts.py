"""Models in several files: llama.cpp's gguf-split calls them NAME-00001-of-00003.gguf, and loads all by the first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


class Part(NamedTuple):
    """One of the files.

    Attributes:
        stem: What all their names begin with.
        number: Which it is, from 1.
        total: How many there are.
    """

    stem: str
    number: int
    total: int

    def name(self, number: int) -> str:
        """The name of another one."""
        return f"{self.stem}-{number:05}-of-{self.total:05}.gguf"


def part_of(name: str) -> Part | None:
    """Which part a file is by its name; None of a model that is one file."""
    found = _PART.fullmatch(name)
    if found is None:
        return None
    part = Part(found["stem"], int(found["number"]), int(found["count"]))
    return part if 1 <= part.number <= part.total else None


def all_parts(file: Path) -> tuple[Path, ...]:
    """All files of the model, whether they are there or not."""
    part = part_of(file.name)
    if part is None:
        return (file,)
    return tuple(file.with_name(part.name(number)) for number in range(1, part.total + 1))
