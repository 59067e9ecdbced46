"""What a model may be called: its name stands in lists, logs, JSON and URLs."""

from __future__ import annotations

import unicodedata

from hoshikage_server.errors import ModelMapError
from hoshikage_server.messages import Sentence, said

MAX_LENGTH = 200
_UNPRINTABLE = ("Cc", "Cs")  # Cs: bytes of the command line that are no UTF-8
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder what stands beside them
_TAKEN = "$schema"  # which says in the file what its schema is
_NO_SEGMENTS = ("", ".", "..")  # as parts of a path, clients take them out of URLs


def check_model_id(name: str) -> None:
    """Refuses a name for a new model; of those that stand in people's files, fewer are refused: see `why_no_id`.

    Raises:
        ModelMapError: invalid_model_name.
    """
    is_bare = name == name.strip() and not any(segment in _NO_SEGMENTS for segment in name.split("/"))
    if not is_bare or name == _TAKEN or why_no_id(name) is not None:
        raise ModelMapError("invalid_model_name", name=ascii(name))


def why_no_id(name: str) -> Sentence | None:
    """Why nobody could ask for a model of this name, or read it in a list; None of one that can be used."""
    if not name:
        return said("id_empty")
    if len(name) > MAX_LENGTH:
        return said("id_too_long", limit=MAX_LENGTH)
    if _TURNING & set(name) or any(unicodedata.category(char) in _UNPRINTABLE for char in name):
        return said("id_unprintable")
    return None
