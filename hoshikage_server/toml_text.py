"""Why a text is no TOML: the place in our words; what the parser says of it, in English, follows as such."""

from __future__ import annotations

import re

from hoshikage_server.messages import Said, said

_PLACE = re.compile(r" ?\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def fault(text: str, error: Exception) -> tuple[Said, int | None]:
    """What is wrong, and the line, if it can be told.

    Args:
        text: The document.
        error: What tomllib raised.
    """
    if isinstance(error, RecursionError):
        return said("too_many_levels"), None
    words = str(error)
    found = _PLACE.search(words)
    words = _PLACE.sub("", words)
    if found is None:
        return said("toml_bad_value", words=words), None
    if found["line"] is None:
        line = text.rstrip().count("\n") + 1
        return said("toml_at_end", line=line, words=words), line
    return said("toml_at", line=found["line"], column=found["column"], words=words), int(found["line"])
