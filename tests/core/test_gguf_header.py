"""The header of a model's file, read without llama.cpp: what it says is right, and nothing in it is an error."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_core import ContextShape, Model, NativeError, _gguf, memory

NUMBERS = ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv")
NUMBERS += ("attention.key_length", "attention.value_length")


def text(of: str) -> bytes:
    """As it stands in a GGUF file."""
    return struct.pack("<Q", len(of)) + of.encode()


# Kinds of values, and values of these kinds, in the place of a small number.
ABSURD = {
    "infinite": (6, struct.pack("<f", float("inf"))),
    "no-number": (12, struct.pack("<d", float("nan"))),
    "negative": (11, struct.pack("<q", -(2**63))),
    "huge": (10, struct.pack("<Q", 2**64 - 1)),
    "zero": (4, struct.pack("<I", 0)),
    "truth": (7, b"\1"),
    "text": (8, text("many")),
    "digits": (8, text("9" * 5000)),
    "array": (9, struct.pack("<IQ3I", 4, 3, 1, 2, 3)),
    "endless": (9, struct.pack("<IQ", 4, 2**64 - 1)),
    "nested": (9, struct.pack("<IQ", 9, 1) * 5000),
    "unknown": (99, b""),
}


def test_the_header_is_read_as_llama_cpp_reads_it(smollm2_path: Path, tiny_model_path: Path) -> None:
    """Every number and text that is read without llama.cpp is what llama.cpp finds under that key."""
    for path in (smollm2_path, tiny_model_path):
        with Model(path, vocab_only=True) as model:
            metadata = model.info.metadata
        read = _gguf.read_scalars(path)
        assert len(read) > 10
        for key, value in read.items():
            if isinstance(value, float):
                assert value == pytest.approx(float(metadata[key]), rel=1e-5)
            else:
                assert str(value) == metadata[key]


@given(data=st.data())
def test_any_bytes_are_read(
    tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut off or damaged anywhere, a header gives what it gives, without an error."""
    whole = tiny_model_path.read_bytes()[:4096]
    head = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(head) - 1)), max_size=4)):
        head[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(head)
    memory.context_bytes_at_most(_gguf.read_scalars(path), ContextShape())


@pytest.mark.parametrize("shape", [ContextShape(), ContextShape(flash_attention=False)], ids=["flash", "plain"])
@pytest.mark.parametrize("kind", ABSURD)
@pytest.mark.parametrize("key", ["general.architecture", *NUMBERS])
def test_absurd_metadata(
    key: str, kind: str, shape: ContextShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands there, the rough figure is a sane one or none, and nothing is raised but for want of memory."""
    values = {"general.architecture": (8, text("llama"))}
    values |= {f"llama.{name}": (4, struct.pack("<I", 64)) for name in NUMBERS}
    values["general.architecture" if key == "general.architecture" else f"llama.{key}"] = ABSURD[kind]
    pairs = b"".join(text(name) + struct.pack("<I", value[0]) + value[1] for name, value in values.items())
    path = tmp_path / "absurd.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + pairs)
    at_most = memory.context_bytes_at_most(_gguf.read_scalars(path), shape)
    assert at_most is None or at_most >= 0
    if kind not in ("huge", "zero", "truth"):
        assert at_most is None or "_length" in key or key.endswith("head_count_kv")
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 10**12})
    assert memory.fits_every_gpu(str(path), shape) in (True, False)
    monkeypatch.setattr(memory, "estimate_memory", no_model)
    memory.require_memory(path, n_ctx=shape.n_ctx, flash_attention=shape.flash_attention)


def no_model(*_: object) -> None:
    """What llama.cpp says of a file that is none."""
    raise NativeError(-1, "no model")
