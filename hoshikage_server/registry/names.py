"""What a model may be called: its name stands in lists, logs, JSON and URLs."""

from __future__ import annotations

import unicodedata

from hoshikage_server.errors import ModelMapError

MAX_LENGTH = 200
_UNPRINTABLE = ("Cc", "Cs")  # Cs: bytes of the command line that are no UTF-8
_NO_SEGMENTS = ("", ".", "..")  # as parts of a path, clients take them out of URLs


def check_model_id(name: str) -> None:
    """Refuses a name for a new model; those that stand in people's files already are not asked.

    Raises:
        ModelMapError: invalid_model_name.
    """
    is_printable = not any(unicodedata.category(char) in _UNPRINTABLE for char in name)
    is_bare = name == name.strip() and not any(segment in _NO_SEGMENTS for segment in name.split("/"))
    if not (is_printable and is_bare and len(name) <= MAX_LENGTH):
        raise ModelMapError("invalid_model_name", name=ascii(name))
