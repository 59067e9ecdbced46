"""What a model may be called: its name stands in lists, logs, JSON and URLs."""

from __future__ import annotations

import unicodedata

from hoshikage_server.errors import ModelMapError

MAX_LENGTH = 200
_UNPRINTABLE = ("Cc", "Cs")  # Cs: bytes of the command line that are no UTF-8
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder what stands beside them
_TAKEN = "$schema"  # which says in the file what its schema is
_NO_SEGMENTS = ("", ".", "..")  # as parts of a path, clients take them out of URLs


def check_model_id(name: str) -> None:
    """Refuses a name for a new model; those that stand in people's files already are not asked.

    Raises:
        ModelMapError: invalid_model_name.
    """
    is_printable = not any(unicodedata.category(char) in _UNPRINTABLE for char in name)
    is_bare = name == name.strip() and not any(segment in _NO_SEGMENTS for segment in name.split("/"))
    is_printable = is_printable and not _TURNING & set(name)
    if not (is_printable and is_bare and len(name) <= MAX_LENGTH and name != _TAKEN):
        raise ModelMapError("invalid_model_name", name=ascii(name))
