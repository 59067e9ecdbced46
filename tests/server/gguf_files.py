"""Small GGUF files: a model's header with whatever kind, cut or not."""

from __future__ import annotations

import struct
from pathlib import Path


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def write_gguf(
    path: Path, *, arch: str = "llama", kind: str | None = None, n_tensors: int = 1, version: int = 3, cut: int = 0
) -> Path:
    """Writes a file with one array, one text or two, and tensors of four numbers.

    Args:
        path: The file.
        arch: general.architecture.
        kind: general.type.
        n_tensors: How many.
        version: Of the format.
        cut: How many bytes at the end are missing.
    """
    values = {"general.architecture": arch} | ({} if kind is None else {"general.type": kind})
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(values) + 1)
    for key, value in values.items():
        head += text(key) + struct.pack("<I", 8) + text(value)
    head += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("c" * 300)
    for number in range(n_tensors):
        head += text(f"t{number}") + struct.pack("<IQIQ", 1, 4, 0, 32 * number)
    data = head.ljust(-(-len(head) // 32) * 32, b"\0") + b"\1" * 32 * n_tensors
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) - cut])
    return path
