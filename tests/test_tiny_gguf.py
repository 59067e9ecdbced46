"""The tiny models are what the tests take them for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import gguf
import pytest
from tiny_gguf import BROKEN, CHATML, SPECIAL_TOKENS, TinyModel, write_aborting


def test_the_same_options_write_the_same_bytes(tmp_path: Path) -> None:
    """A model is a pure function of its options, and its seed is one of them."""
    first = TinyModel().write(tmp_path / "first.gguf").read_bytes()
    assert TinyModel().write(tmp_path / "second.gguf").read_bytes() == first
    assert TinyModel(seed=1).write(tmp_path / "third.gguf").read_bytes() != first


def test_a_model_is_tiny(tmp_path: Path) -> None:
    """A file stays below 1 MB, so that writing hundreds costs nothing."""
    assert TinyModel().write(tmp_path / "tiny.gguf").stat().st_size < 1_000_000


def test_options_reach_the_file(tmp_path: Path) -> None:
    """What was asked for is read back by the gguf package's own reader."""
    model = TinyModel(n_layer=3, n_ctx_train=64, n_vocab=1000, add_bos=True)
    reader = gguf.GGUFReader(model.write(tmp_path / "tiny.gguf"))
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["llama.block_count"] == 3
    assert fields["llama.context_length"] == 64
    assert fields["tokenizer.chat_template"] == CHATML
    assert fields["tokenizer.ggml.add_bos_token"] is True
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == 1000
    assert tuple(tokens[:3]) == SPECIAL_TOKENS
    assert len(reader.tensors) == 3 * 9 + 3


def test_a_chat_template_can_be_left_out(tmp_path: Path) -> None:
    """A model without a template has no such key at all."""
    reader = gguf.GGUFReader(TinyModel(chat_template=None).write(tmp_path / "tiny.gguf"))
    assert "tokenizer.chat_template" not in reader.fields


def test_an_impossible_vocabulary_is_refused(tmp_path: Path) -> None:
    """There are 259 tokens to begin with."""
    with pytest.raises(ValueError, match="n_vocab must be at least 259"):
        TinyModel(n_vocab=258).write(tmp_path / "tiny.gguf")


def test_a_large_vocabulary_is_filled_up(tmp_path: Path) -> None:
    """Beyond the merges that letters allow there are tokens all the same, each with a text of its own."""
    reader = gguf.GGUFReader(TinyModel(n_vocab=20_000).write_vocab_only(tmp_path / "tiny.gguf"))
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(set(tokens)) == 20_000


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_files_are_written(fault: str, tmp_path: Path) -> None:
    """Every broken variant is a file that differs from a good one."""
    good = TinyModel().write(tmp_path / "good.gguf").read_bytes()
    assert BROKEN[fault](tmp_path / "broken.gguf").read_bytes() != good


def test_the_aborting_file_ends_the_process_that_loads_it(tmp_path: Path) -> None:
    """It does not merely fail to load: the supervisor's tests rely on it to kill an engine from inside llama.cpp."""
    path = write_aborting(tmp_path / "aborting.gguf")
    program = "import sys; from hoshikage_core import Model; Model(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGABRT
    assert "GGML_ASSERT" in run.stderr
