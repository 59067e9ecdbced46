"""Answers that are read off one connection, one after the other."""

from __future__ import annotations

import socket
from typing import Any


class KeptReader:
    """A "socket" for http.client.HTTPResponse, whose buffer outlives an answer: what was sent ahead stays in it."""

    def __init__(self, connection: socket.socket) -> None:
        self._reader = connection.makefile("rb")

    def makefile(self, mode: str) -> Any:
        """What HTTPResponse asks for, and closes."""
        return _Kept(self._reader)


class _Kept:
    def __init__(self, reader: Any) -> None:
        self.read, self.readline, self.readinto = reader.read, reader.readline, reader.readinto

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
