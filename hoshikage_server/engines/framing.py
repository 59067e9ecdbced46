"""Frames as bytes: four of length (big endian), then a msgpack array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

MAX_FRAME_BYTES = 256 * 1024 * 1024  # a 32 MiB request body, with room for what decoding makes of it
_PREFIX_BYTES = 4

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class WireError(Exception):
    """The other side sent something that is no frame."""


def encode(frame: msgspec.Struct) -> bytes:
    """The bytes of one frame."""
    body = _encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(body)} bytes is too large")
    return len(body).to_bytes(_PREFIX_BYTES, "big") + body


class FrameDecoder(Generic[T]):
    """Turns a stream of bytes, arriving in any pieces, into frames."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T], max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The frames that `data` completes.

        Raises:
            WireError: These bytes are no frames, or one of them is too large.
        """
        try:
            return [self._decoder.decode(body) for body in self._split(data)]
        except msgspec.DecodeError as error:
            raise WireError(str(error)) from error

    def _split(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PREFIX_BYTES:
                begin = start + _PREFIX_BYTES
                n_bytes = int.from_bytes(buffer[start:begin], "big")
                if n_bytes > self._max_bytes:
                    raise WireError(f"a frame of {n_bytes} bytes is too large")
                if len(buffer) < begin + n_bytes:
                    return
                start = begin + n_bytes
                yield bytes(buffer[begin:start])
        finally:
            del buffer[:start]
