"""Loading real models as their entries say: templates, adapters, draft models, and what of them cannot be had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_bert import TinyBert
from tiny_gguf import TinyModel
from tiny_lora import TinyLora

from hoshikage_core import (
    AdapterLoadError,
    ContextShape,
    Engine,
    HoshikageError,
    Model,
    ModelLoadError,
    SamplingParams,
)
from hoshikage_server.api.usage import timings_of
from hoshikage_server.engines import loading
from hoshikage_server.engines.engine_spec import Adapter, EngineSpec, SpecFile
from hoshikage_server.engines.failures import (
    LOAD_CODES,
    DraftModelError,
    TemplateFileError,
    TemplateLoadError,
    failed,
)
from hoshikage_server.engines.loading import Loaded, load
from hoshikage_server.engines.prompts import Prompts
from hoshikage_server.engines.running import Running
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.wire import Count, Done, Generate
from hoshikage_server.errors import EngineError


def loaded_with(path: Path, **options: Any) -> Loaded:
    return load(EngineSpec(str(path), 256, n_threads=1, gpu_layers=0, **options), lambda progress: None)


def test_the_engine_is_as_the_entry_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of memory, the fitting of layers and the engine see the same."""
    seen: list[dict[str, Any]] = []
    real = Model.engine

    def engine(model: Model, *arguments: Any, **options: Any) -> Engine:
        seen.append(options)
        return real(model, *arguments, **options)

    monkeypatch.setattr(Model, "engine", engine)
    monkeypatch.setattr(loading, "require_memory", lambda path, **options: seen.append(options))
    monkeypatch.setattr(loading, "ContextShape", lambda **options: (seen.append(options), ContextShape(**options))[1])
    path = TinyModel(n_embd=128).write(tmp_path / "wide.gguf")  # heads that can be quantised
    with loaded_with(path, parallel=2, kv_type="q8_0", flash_attention=True).model:
        pass
    expected = {"n_ctx": 256, "n_batch": 512, "parallel": 2, "kv_type": "q8_0", "flash_attention": True}
    assert [{name: options[name] for name in expected} for options in seen] == 3 * [expected]


def test_what_llama_cpp_cannot_do_is_told(tiny_model_path: Path) -> None:
    """In its words."""
    with pytest.raises(HoshikageError, match="flash"):
        loaded_with(tiny_model_path, kv_type="q8_0", flash_attention=False)


@pytest.mark.parametrize("is_vocab_only", [False, True])
def test_a_pipe_is_no_model(tmp_path: Path, is_vocab_only: bool) -> None:
    """Nobody waits for its other end."""
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelLoadError, match="pipe"):
        loaded_with(tmp_path / "pipe.gguf", is_vocab_only=is_vocab_only)


TEMPLATE = "{% for m in messages %}[{{ m.content }}]{% endfor %}"


def rendered(loaded: Loaded) -> str:
    with loaded.model as model:
        frame = Count(1, [{"role": "user", "content": "hello"}])
        n_prompt = Prompts(model, loaded.template).count(frame)
        assert n_prompt == len(model.tokenize("[hello]"))
        assert loaded.template is not None
        return loaded.template.source


@pytest.mark.parametrize("is_vocab_only", [False, True])
def test_a_template_instead_of_the_models_own(tiny_model_path: Path, tmp_path: Path, is_vocab_only: bool) -> None:
    """Its text, or a file of it with or without a mark of its encoding; also where tokens are only counted."""
    file = tmp_path / "chat.jinja"
    for content in (TEMPLATE, f"\ufeff{TEMPLATE}"):
        file.write_text(content, encoding="utf-8")
        for given in (TEMPLATE, SpecFile(str(file))):
            loaded = loaded_with(tiny_model_path, is_vocab_only=is_vocab_only, chat_template=given)
            assert rendered(loaded) == TEMPLATE


@pytest.mark.parametrize("is_vocab_only", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "nothing in it"),
        (b"\xff\xfe{{", "utf-8"),
        (b"{% if %}", "Unexpected token"),
        ("dir", "no file"),
    ],
)
def test_a_template_that_cannot_be_used(
    tiny_model_path: Path, tmp_path: Path, is_vocab_only: bool, content: bytes | str | None, reason: str
) -> None:
    """The file is named, in both languages; text in the map itself is told as such."""
    file = tmp_path / "chat.jinja"
    if content == "dir":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(TemplateFileError) as caught:
        loaded_with(tiny_model_path, is_vocab_only=is_vocab_only, chat_template=SpecFile(str(file)))
    assert reason in caught.value.reason
    for language in ("ja", "en"):
        told = reported(caught.value).text(language)
        assert str(file) in told
        assert "{" not in told
    assert any(not char.isascii() for char in reported(caught.value).text("ja").partition("chat.jinja")[2][6:])


def test_a_template_in_the_map_that_is_no_jinja(tiny_model_path: Path) -> None:
    """It is told as such."""
    with pytest.raises(TemplateLoadError) as caught:
        loaded_with(tiny_model_path, chat_template="{% for %}")
    assert reported(caught.value).code == "template_load_failed"
    assert "chat_template" in reported(caught.value).text("ja")


def test_adapters_of_an_entry(tiny_model_path: Path, tmp_path: Path) -> None:
    """They change the answer; one that is not there is named before any weights are read."""
    path = TinyLora().write(tmp_path / "lora.gguf")
    texts = []
    for lora in ((), (Adapter(SpecFile(str(path)), 3.0),)):
        loaded = loaded_with(tiny_model_path, lora=lora)
        assert loaded.engine is not None
        with loaded.model:
            texts.append(loaded.engine.generate("a", SamplingParams(temperature=0), max_tokens=8).text)
    assert texts[0] != texts[1]
    missing = Adapter(SpecFile(str(tmp_path / "none.gguf")))
    with pytest.raises(AdapterLoadError) as caught:
        loaded_with(tmp_path / "no-model.gguf", lora=(missing,))
    for language in ("ja", "en"):
        assert "none.gguf" in reported(caught.value).text(language)
        assert "LoRA" in reported(caught.value).text(language)


def test_a_draft_model_of_an_entry(tiny_model_path: Path, tmp_path: Path) -> None:
    """It is asked for guesses; one with another vocabulary, or none at all, is named in both languages."""
    loaded = loaded_with(tiny_model_path, draft_model=SpecFile(str(tiny_model_path)))
    assert loaded.engine is not None
    with loaded.model:
        assert loaded.engine.generate("a", SamplingParams(temperature=0), max_tokens=8).n_completion
    other = TinyModel(n_vocab=700).write(tmp_path / "other.gguf")
    for path in (other, tmp_path / "none.gguf"):
        with pytest.raises(DraftModelError) as caught:
            loaded_with(tiny_model_path, draft_model=SpecFile(str(path)))
        for language in ("ja", "en"):
            assert path.name in reported(caught.value).text(language)
            assert "draft_model" in reported(caught.value).text(language)


def test_guesses_where_there_can_be_none(tmp_path: Path) -> None:
    """A setting for all models keeps none of them from being loaded."""
    for path in (TinyModel().write_mamba(tmp_path / "mamba.gguf"), TinyBert().write(tmp_path / "bert.gguf")):
        loaded = loaded_with(path, guesses=True)
        assert (loaded.engine is None) == (path.name == "bert.gguf")
        loaded.model.close()


def test_guesses_are_told(tiny_model_path: Path) -> None:
    """Timings say how many tokens were guessed, and how many of them right."""
    loaded = loaded_with(tiny_model_path, guesses=True)
    assert loaded.engine is not None
    with loaded.model:
        frame = Generate(1, [{"role": "user", "content": "a b c " * 30}], Sampling())
        running = Running(loaded.engine.stream("a b c " * 30, SamplingParams(temperature=0), max_tokens=8), frame)
        running.generation.n_drafted, running.generation.n_accepted = 5, 3
        while not running.generation.finished:
            loaded.engine.step()
        *_, done = running.frames()
    assert isinstance(done, Done)
    assert done.timings is not None
    told = timings_of(done.timings)
    assert told is not msgspec.UNSET
    assert told.draft_n >= 5
    assert told.draft_n_accepted >= 3


def test_a_part_of_a_model_that_is_not_there(tmp_path: Path) -> None:
    """It is named, not the one that there is."""
    (tmp_path / "x-00001-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(HoshikageError) as caught:
        loaded_with(tmp_path / "x-00001-of-00002.gguf")
    for language in ("ja", "en"):
        assert str(tmp_path / "x-00002-of-00002.gguf") in reported(caught.value).text(language)


def reported(error: HoshikageError) -> EngineError:
    frame = failed(0, error)
    assert frame.code in LOAD_CODES
    return EngineError.reported(frame.code, frame.message, {"model": "m", **frame.fields})
