"""What the objects of an answer begin with, whole or in pieces."""

from __future__ import annotations

import time
import uuid

import msgspec


class Heading(msgspec.Struct, frozen=True):
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str

    @property
    def beginning(self) -> tuple[str, int, str, str]:
        """These fields, for an object that begins with them."""
        return self.id, self.created, self.model, self.system_fingerprint


def new_heading(kind: str, model: str, fingerprint: str) -> Heading:
    """An answer's.

    Args:
        kind: What its id begins with.
        model: The name that the request asked for.
        fingerprint: Of the engine that answers.
    """
    return Heading(f"{kind}-{uuid.uuid4().hex}", int(time.time()), model, fingerprint)
