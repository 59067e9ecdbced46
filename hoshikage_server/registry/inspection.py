"""Stand-in until helper A's part is merged."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hoshikage_server.registry.gguf_header import read_header


class Inspection(msgspec.Struct, frozen=True):
    """What a GGUF file is."""

    arch: str
    name: str
    kind: str
    n_parts: int
    size_bytes: int
    quantisation: str
    n_params: int
    n_ctx_train: int
    n_layer: int
    chat_template: str | None
    supports_thinking: bool
    pooling: str | None
    license: str | None
    memory: tuple[tuple[int, int, int | None], ...]


def inspect(file: Path, timeout_s: float = 60.0) -> Inspection:
    """What a GGUF file is."""
    read_header(file)
    size = file.stat().st_size
    template = "line one\nline two\n3\n4\n5\n6\n7"
    return Inspection(
        "llama",
        "Tiny",
        "generate",
        1,
        size,
        "F16",
        134_515_008,
        2048,
        2,
        template,
        False,
        None,
        "MIT",
        ((4096, size, None),),
    )
