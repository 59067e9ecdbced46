"""llama.cpp's own tokenizer vectors: every vocabulary that has them gives exactly those ids, through our whole stack.

The vectors come with the pinned source (models/ggml-vocab-*.gguf with .inp and .out); they are read as llama.cpp's
tests/test-tokenizer-0.cpp reads them: no special tokens added, none parsed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hoshikage_core import InvalidArgumentError, Model

SEPARATOR = b"\n__ggml_vocab_test__\n"
VOCABULARIES = [
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
]
# Byte-level BPE with a token for every byte. (falcon and starcoder have none for some bytes and drop them.)
BYTE_LEVEL = ["deepseek-coder", "gpt-2", "llama-bpe", "qwen2"]


def read_vectors(vocabulary: Path) -> list[tuple[bytes, list[int]]]:
    """The pairs of text and ids that lie beside a vocabulary."""
    texts = Path(f"{vocabulary}.inp").read_bytes().split(SEPARATOR)
    if not texts[-1]:
        texts.pop()
    lines = Path(f"{vocabulary}.out").read_text(encoding="ascii").splitlines()
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines, strict=True)]


def test_no_vocabulary_is_left_out(vocab_folder: Path) -> None:
    """The list above is the pinned source's; a new pin that brings more must be tested with more."""
    found = {path.name.removesuffix(".gguf.inp") for path in vocab_folder.glob("ggml-vocab-*.gguf.inp")}
    assert found == {f"ggml-vocab-{name}" for name in VOCABULARIES}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_tokenizer_gives_the_vectors(name: str, vocab_folder: Path) -> None:
    """Each text gives the ids that llama.cpp's own tests expect."""
    path = vocab_folder / f"ggml-vocab-{name}.gguf"
    vectors = read_vectors(path)
    assert len(vectors) >= 40  # the pinned files hold 46 to 50 each
    with Model(path, vocab_only=True) as model:
        got = [(text, model.tokenize(text, add_special=False)) for text, _ in vectors]
    assert got == vectors


@pytest.fixture(scope="module", params=BYTE_LEVEL)
def byte_level_model(request: pytest.FixtureRequest, vocab_folder: Path) -> Model:
    """A real byte-level vocabulary, loaded once."""
    return Model(vocab_folder / f"ggml-vocab-{request.param}.gguf", vocab_only=True)


@pytest.fixture(scope="module")
def sentencepiece_model(vocab_folder: Path) -> Model:
    """A real SentencePiece vocabulary that falls back to byte tokens."""
    return Model(vocab_folder / "ggml-vocab-llama-spm.gguf", vocab_only=True)


def bytes_of(model: Model, ids: list[int]) -> bytes:
    return b"".join(model.token_to_bytes(token) for token in ids)


@given(text=st.text(max_size=200))
def test_any_text_comes_back(byte_level_model: Model, text: str) -> None:
    """Tokens stand for exactly the bytes they were made from, and detokenizing gives the text."""
    ids = byte_level_model.tokenize(text, add_special=False)
    assert bytes_of(byte_level_model, ids) == text.encode()
    assert byte_level_model.detokenize(ids) == text


@given(data=st.binary(max_size=200))
@example(b"\xf4\x90\x80\x80")
def test_byte_level_replaces_what_is_not_utf8(byte_level_model: Model, data: bytes) -> None:
    """Any bytes are tokenized or refused as an argument; what their tokens stand for gives the same tokens again."""
    try:
        ids = byte_level_model.tokenize(data, add_special=False)
    except InvalidArgumentError:
        assert any(byte >= 0xF4 for byte in data)  # only these begin code points beyond U+10FFFF
        return
    assert byte_level_model.tokenize(bytes_of(byte_level_model, ids), add_special=False) == ids


@given(text=st.text(min_size=1, max_size=200))
def test_byte_fallback_gives_any_text_back(sentencepiece_model: Model, text: str) -> None:
    """SentencePiece writes spaces as U+2581 and begins a text with one; nothing else is changed."""
    ids = sentencepiece_model.tokenize(text, add_special=False)
    assert bytes_of(sentencepiece_model, ids).decode() == " " + text.replace("\u2581", " ")
