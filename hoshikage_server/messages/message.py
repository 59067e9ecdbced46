"""What a sentence is."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One sentence in both languages."""

    ja: str
    en: str
