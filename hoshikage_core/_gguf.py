"""The beginning of a GGUF file, read without llama.cpp.

To read one number of the header, llama.cpp builds the tokenizer (tens of milliseconds). What says how large a model's
context is comes before the tokenizer's part and is read here in less than one. Nothing depends on its being there: who
finds too little asks llama.cpp.
"""

from __future__ import annotations

import os
import struct

_HEAD_BYTES = 256 * 1024
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

Scalar = int | float | bool | str


class _Reader:
    """Takes values from the front of a piece of the file; beyond its end, struct.error."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, kind: int) -> int | float | bool:
        """A number of one of the file format's kinds."""
        code = _FORMATS[kind]
        (value,) = struct.unpack_from(code, self._data, self._at)
        self._at += struct.calcsize(code)
        assert isinstance(value, (int, float))
        return value

    def count(self) -> int:
        """A 64-bit count."""
        return int(self.number(10))

    def skip(self, n_bytes: int) -> bytes:
        """Passes over some bytes and returns them."""
        begin, self._at = self._at, self._at + n_bytes
        if self._at > len(self._data):
            raise struct.error("the piece ends here")
        return self._data[begin : self._at]

    def text(self) -> str:
        """A string."""
        return self.skip(self.count()).decode("utf-8", "replace")

    def value(self, kind: int) -> Scalar | None:
        """A value of any kind; None for an array."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(kind)
        item = int(self.number(4))
        for _ in range(self.count()):
            self.value(item)
        return None


def read_scalars(path: str | os.PathLike[str]) -> dict[str, Scalar]:
    """The scalar metadata before the tokenizer's, by key: all, some or none of it, whatever the file is.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        reader = _Reader(file.read(_HEAD_BYTES))
    found: dict[str, Scalar] = {}
    try:
        if reader.skip(4) != b"GGUF" or reader.number(4) not in (2, 3):
            return found
        reader.count()  # tensors
        for _ in range(reader.count()):
            key, kind = reader.text(), int(reader.number(4))
            if key.startswith("tokenizer."):
                break
            value = reader.value(kind)
            if value is not None:
                found[key] = value
    except (struct.error, KeyError, RecursionError):
        pass  # cut off by the length of the piece, or no GGUF
    return found
