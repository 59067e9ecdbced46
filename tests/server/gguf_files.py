"""Small GGUF files: a model's header with whatever kind, cut or not."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf


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


def split(whole: Path, parts: list[Path]) -> None:
    """Writes a model again in two files, as gguf-split does."""
    reader = gguf.GGUFReader(whole)
    for index, part in enumerate(parts):
        _write_part(reader, part, index, len(parts))


def _write_part(reader: gguf.GGUFReader, path: Path, index: int, total: int) -> None:
    """Half of the tensors, as gguf-split writes them; the first part has the metadata."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("split.no", index)
    writer.add_uint16("split.count", total)
    writer.add_int32("split.tensors.count", len(reader.tensors))
    if index == 0:
        for field in reader.fields.values():
            if not field.name.startswith(("GGUF.", "general.architecture")):
                kind = field.types[0]
                inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), kind, inner)
    half = len(reader.tensors) // 2
    for tensor in reader.tensors[:half] if index == 0 else reader.tensors[half:]:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
