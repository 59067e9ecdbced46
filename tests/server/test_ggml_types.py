"""The room that tensors take in a file, against the pinned llama.cpp's source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gguf_files import text, write_gguf
from tiny_gguf import TinyModel

from hoshikage_core import Model, ModelLoadError
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.ggml_types import BLOCKS, tensor_bytes
from hoshikage_server.registry.gguf_header import read_header

GGML = Path(__file__).resolve().parents[2] / "third_party" / "llama.cpp" / "source" / "ggml"
SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "int64_t": 8}
SIZES |= {"float": 4, "double": 8, "ggml_half": 2, "ggml_fp16_t": 2, "ggml_bf16_t": 2}
TRAITS = re.compile(r"\[GGML_TYPE_(?!COUNT)(\w+)\] = \{[^}]*?\.blck_size\s*= (\w+),\s*\.type_size\s*= sizeof\((\w+)\)")


def value(expression: str, names: dict[str, int]) -> int:
    """What a sum of the source comes to."""
    plain = re.sub(r"sizeof\((\w+)\)", lambda found: str(SIZES[found[1]]), expression).replace("/", "//")
    return int(eval(plain, {"__builtins__": {}}, names))


def test_all_types_of_the_pinned_llama_cpp() -> None:
    """Its numbers, its blocks and their bytes: nothing is missing, and nothing is there that it has not."""
    common = (GGML / "src" / "ggml-common.h").read_text()
    names = {name: int(number) for name, number in re.findall(r"^#define (Q\w+|K_SCALE_SIZE) (\d+)", common, re.M)}
    names["IQ3S_N_SCALE"] = names["QK_K"] // 64
    asserted = re.findall(r"static_assert\(sizeof\((block_\w+)\) == (.+), \"", common)
    sizes = SIZES | {block: value(expression, names) for block, expression in asserted}
    enum = dict(re.findall(r"^ +GGML_TYPE_(\w+) += (\d+),", (GGML / "include" / "ggml.h").read_text(), re.M))
    del enum["COUNT"]
    found = {}
    for name, block, kind in TRAITS.findall((GGML / "src" / "ggml.c").read_text()):
        found[int(enum.pop(name))] = (value(block, names), sizes[kind])
    assert not enum
    assert found == BLOCKS


def test_what_a_tensor_takes() -> None:
    """Rows of whole blocks; nothing is said of a type that is not known."""
    assert tensor_bytes(0, [3, 5]) == 60
    assert tensor_bytes(2, [64, 3]) == 2 * 18 * 3
    assert tensor_bytes(99, [64]) is None


def is_whole(path: Path) -> bool:
    try:
        read_header(path)
    except ServerError as error:
        return error.code != "gguf_truncated"
    return True


def test_a_model_cut_in_its_last_weights(tmp_path: Path) -> None:
    """Is none, as llama.cpp finds too; only the padding behind them may be missing."""
    content = TinyModel(n_layer=1).write(tmp_path / "x.gguf").read_bytes()
    for kept in (len(content), len(content) - 4, len(content) // 2):
        (tmp_path / "x.gguf").write_bytes(content[:kept])
        try:
            Model(tmp_path / "x.gguf").close()
            loads = True
        except ModelLoadError:
            loads = False
        assert is_whole(tmp_path / "x.gguf") is loads


@pytest.mark.parametrize(("cut", "expected"), [(0, True), (16, True), (17, False), (31, False)])
def test_the_last_bytes(tmp_path: Path, cut: int, expected: bool) -> None:
    """Four numbers of four bytes, and padding up to 32."""
    assert is_whole(write_gguf(tmp_path / "x.gguf", n_tensors=2, cut=cut)) is expected


def test_a_type_of_another_llama_cpp(tmp_path: Path) -> None:
    """Of its weights one byte has to be there."""
    path = write_gguf(tmp_path / "x.gguf", cut=31)
    assert not is_whole(path)
    content = path.read_bytes()
    at = content.index(text("t0")) + 10 + 4 + 8
    path.write_bytes(content[:at] + (99).to_bytes(4, "little") + content[at + 4 :])
    assert is_whole(path)
