"""What all tests share: tiny models, the demo model, and hypothesis without time limits.

This folder is on the import path while the tests run: ``from tiny_gguf import TinyModel``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest
from tiny_bert import TinyBert
from tiny_gguf import TinyModel

# At the end: build_support is found in the checkout, everything that is installed as it was installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from build_support.source import members_folder
from hoshikage_server.demo import demo_model_path

# A shared machine may stall for longer than any limit on one example; a failure shows how to repeat it.
hypothesis.settings.register_profile("hoshikage", deadline=None, print_blob=True)
hypothesis.settings.load_profile("hoshikage")


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with a ChatML template; read only, shared by all tests."""
    return TinyModel().write(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def vocab_folder() -> Path:
    """The pinned llama.cpp's models/ with its vocabularies and tokenizer vectors."""
    return members_folder("models/ggml-vocab-*") / "models"


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct, the demo model; fetched once into the user's cache."""
    return demo_model_path()


@pytest.fixture(scope="session")
def tiny_bert_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random embedding model (mean pooling, inputs of 128 tokens at most); read only, shared by all tests."""
    return TinyBert().write(tmp_path_factory.mktemp("models") / "tiny-bert.gguf")
