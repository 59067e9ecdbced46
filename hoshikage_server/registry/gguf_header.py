"""The beginning of a GGUF file, read in this process: enough to tell models from other files, whole ones from broken.

What only llama.cpp can tell is left to `inspection`, which asks it. Format: ggml's docs/gguf.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hoshikage_server.errors import ServerError
from hoshikage_server.registry.ggml_types import tensor_bytes

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_NUMBERS = {kind: struct.Struct(code) for kind, code in _FORMATS.items()}
_U32, _U64 = _NUMBERS[4], _NUMBERS[10]
_MAX_ITEMS = 8_000_000  # of everything: the largest vocabularies have some hundred thousand tokens and merges
_MAX_DIMENSIONS = 8
_MAX_KEPT = 256  # bytes of a text that is kept
_ALIGNMENT = 32
_BUFFER_BYTES = 1024 * 1024


@dataclass
class Header:
    """What it says.

    Attributes:
        n_tensors: How many weights follow.
        values: Numbers and short texts, by key.
    """

    n_tensors: int = 0
    values: dict[str, int | float | bool | str] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Reads a file's header, all of it.

    Raises:
        ServerError: not_a_gguf, gguf_version or gguf_truncated.
        OSError: The file cannot be read.
    """
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ServerError("not_a_gguf", path=path)
        try:
            return _Reader(file, path.stat().st_size).header(path)
        except (struct.error, KeyError, OverflowError, ValueError):
            raise ServerError("gguf_truncated", path=path) from None


class _Reader:
    """Takes values from the front; beyond the end, struct.error. No mmap: a file cut meanwhile would kill us."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._at = len(MAGIC)
        self._n_left = _MAX_ITEMS

    def header(self, path: Path) -> Header:
        version = self._u32()
        if version not in _VERSIONS:
            raise ServerError("gguf_version", path=path, version=version)
        header = Header(self._u64())
        for _ in range(self._u64()):
            key, value = self._text(), self._value(self._u32())
            if value is not None:
                header.values[key] = value
        end = max((self._tensor() for _ in range(header.n_tensors)), default=0)
        alignment = header.values.get("general.alignment")
        alignment = alignment if isinstance(alignment, int) and alignment > 0 else _ALIGNMENT
        data_start = -(-self._at // alignment) * alignment
        if end and data_start + end > self._size:
            raise struct.error("the last weights are missing")
        return header

    def _tensor(self) -> int:
        """Where its weights end, or at least begin: of a type that is not known, there is one byte."""
        self._skip(self._u64())
        n_dimensions = self._u32()
        if n_dimensions > _MAX_DIMENSIONS:
            raise ValueError("no tensor has so many dimensions")
        shape = [self._u64() for _ in range(n_dimensions)]
        size = tensor_bytes(self._u32(), shape)
        return self._u64() + (1 if size is None else size)

    def _value(self, kind: int, depth: int = 0) -> int | float | bool | str | None:
        """A value; None for an array."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        item, count = self._u32(), self._u64()
        if item in _NUMBERS:
            self._skip(count * _NUMBERS[item].size)
            return None
        if item == _STRING:
            self._skip_texts(count)
            return None
        if depth > 2:
            raise ValueError("arrays within arrays")
        for _ in range(count):
            self._value(item, depth + 1)
        return None

    def _skip_texts(self, count: int) -> None:
        """Most of a header are these: a vocabulary has some hundred thousand."""
        self._count(count)
        length_at, start, data = self._at, self._at, b""
        for _ in range(count):
            offset = length_at - start
            if offset + _U64.size > len(data):
                self._file.seek(length_at)
                start, offset, data = length_at, 0, self._file.read(_BUFFER_BYTES)
            length_at += _U64.size + _U64.unpack_from(data, offset)[0]
            self._within(length_at)
        self._skip(length_at - self._at)

    def _text(self) -> str:
        length = self._u64()
        kept = self._take(min(length, _MAX_KEPT))
        self._skip(length - len(kept))
        return kept.decode("utf-8", "replace")

    def _u32(self) -> int:
        return int(self._number(_U32))

    def _u64(self) -> int:
        return int(self._number(_U64))

    def _number(self, form: struct.Struct) -> int | float | bool:
        self._count(1)
        value: int | float | bool = form.unpack(self._take(form.size))[0]
        return value

    def _count(self, n_items: int) -> None:
        self._n_left -= n_items
        if self._n_left < 0:
            raise ValueError("no header is so long")

    def _take(self, n_bytes: int) -> bytes:
        data = self._file.read(n_bytes)
        if len(data) < n_bytes:
            raise struct.error("the file ends here")
        self._at += n_bytes
        return data

    def _skip(self, n_bytes: int) -> None:
        self._at += n_bytes
        self._within(self._at)
        self._file.seek(self._at)

    def _within(self, place: int) -> None:
        """Before it is sought: a file system refuses the farthest places with an error of its own."""
        if place > self._size:
            raise struct.error("the file ends here")
