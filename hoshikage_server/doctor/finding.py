"""What a check says."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from hoshikage_server.messages import Sentence

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        status: How it is.
        what: The sentence for people.
        fix: The command to type, where there is one.
    """

    check: str
    status: Status
    what: Sentence
    fix: str | None = None


def shell(*words: object) -> str:
    """A command to type."""
    return shlex.join(map(str, words))
