"""The next prompt of a conversation is cut into tokens from where the one before ended, and gets the same tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import TinyModel

from hoshikage_core import Model
from hoshikage_core._texts import GrowingTexts

# Special tokens of these vocabularies that templates write between messages.
MARKS = {
    "llama-bpe": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen2": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    "llama-spm": ["<s>", "</s>"],
    "phi-3": ["<|user|>", "<|end|>", "<|assistant|>"],
    "deepseek-llm": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
    "gemma-4": ["<bos>", "<eos>"],
}
WORDS = st.sampled_from(["", " ", "\n", "\n\n", "user", " Hello", "  two", "<|im", "end|>", "日本", "\t", "12"])


@pytest.fixture(scope="module")
def open_vocabularies(vocab_folder: Path) -> dict[str, Model]:
    return {name: Model(vocab_folder / f"ggml-vocab-{name}.gguf", vocab_only=True) for name in MARKS}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_parts_have_the_tokens_of_the_whole(open_vocabularies: dict[str, Model], data: st.DataObject) -> None:
    """However a conversation grows, is edited or starts anew."""
    name = data.draw(st.sampled_from(sorted(MARKS)))
    model = open_vocabularies[name]
    texts = GrowingTexts(model)
    pieces = st.lists(st.sampled_from(MARKS[name]) | WORDS, max_size=6).map("".join)
    text = ""
    for _ in range(data.draw(st.integers(1, 5))):
        kept = data.draw(st.just(len(text)) | st.integers(0, len(text)))
        text = text[:kept] + data.draw(pieces)
        assert texts.tokenize(text) == model.tokenize(text, parse_special=True), text


def test_special_tokens_that_end_alike(tmp_path: Path) -> None:
    """What is written last as a border may be the end of a longer token."""
    marks = ("<e>", "<a><e>", "<m><m>")
    with Model(TinyModel(more_specials=marks).write_vocab_only(tmp_path / "v.gguf"), vocab_only=True) as model:
        for said in ("Yes.<e>Well<a><e>", "Yes.<e><a><e>", "Yes.<m><m><m>", "Yes.<e>Well<a><e> no<m><m><m> then"):
            texts = GrowingTexts(model)
            for text in (said, said + "go on", said + "go on<e>", said):
                assert texts.tokenize(text) == model.tokenize(text, parse_special=True), text


def test_only_the_new_part_is_cut(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a turn costs does not grow with the conversation."""
    texts = GrowingTexts(model)
    said = "<|im_start|>user\n" + "A long story. " * 200 + "<|im_end|>\n<|im_start|>assistant\n"
    texts.tokenize(said)
    cut: list[int] = []
    tokenize = Model.tokenize

    def watched(self: Model, text: str, **options: bool) -> list[int]:
        cut.append(len(text))
        return tokenize(self, text, **options)

    monkeypatch.setattr(Model, "tokenize", watched)
    tokens = texts.tokenize(f"{said}Yes.<|im_end|>\n")
    assert cut == [len("assistant\nYes.<|im_end|>\n"), len("\n")]
    assert tokens == tokenize(model, f"{said}Yes.<|im_end|>\n", parse_special=True)
