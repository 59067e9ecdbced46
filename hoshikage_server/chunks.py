"""Chunked bodies that say themselves when they become too large."""

from __future__ import annotations

import sys
from typing import Any

from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import ParseException


class ChunksTooLargeError(ParseException):  # type: ignore[misc]  # gunicorn has no types
    """More was announced than is read. Told once: who reads on drops it."""


class Chunks(ChunkedReader):  # type: ignore[misc]
    """gunicorn's reader, with a limit.

    Attributes:
        limit: Bytes that may be announced.
    """

    limit = sys.maxsize

    def __init__(self, req: Any, unreader: Any) -> None:
        super().__init__(req, unreader)
        self._n_announced = 0
        self._held: tuple[int, bytes] | None = None

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> tuple[int, bytes]:
        """The size of the next chunk, and what was read behind its line."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        size, rest = super().parse_chunk_size(unreader, data)
        self._n_announced += size
        if self._n_announced > self.limit:
            self.limit = sys.maxsize
            self._held = size, rest
            self.parser = self.parse_chunked(unreader)  # goes on here
            raise ChunksTooLargeError
        return size, rest


class ChunkedBody(Body):  # type: ignore[misc]
    """A chunked body that can be limited."""

    def _read_reader(self, size: int) -> bytes:
        try:
            data: bytes = super()._read_reader(size)
        except ChunksTooLargeError:
            self.failed = False  # where the next request begins can still be found
            raise
        return data


def watch(req: Any) -> None:
    """Makes a request's body, if it is chunked, one that can be limited; nothing of it has been read."""
    if req.body is not None and isinstance(req.body.reader, ChunkedReader):
        req.body = ChunkedBody(Chunks(req, req.unreader))


def limit(stream: Any, n_bytes: int) -> None:
    """Lets a body that is chunked fail as soon as it announces more bytes in all."""
    if isinstance(stream, ChunkedBody):
        stream.reader.limit = n_bytes
