"""Loading a model, what it says about itself, and what becomes of it when it is closed."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import BROKEN, IM_END, SPECIAL_TOKENS, TinyModel

from hoshikage_core import (
    CancelledError,
    ClosedError,
    Engine,
    InvalidArgumentError,
    Model,
    ModelLoadError,
    SamplingParams,
    UnsupportedError,
)


def test_info_is_what_the_file_says(tiny_model_path: Path) -> None:
    """The figures are those the file was written with."""
    tiny = TinyModel()
    with Model(tiny_model_path) as model:
        info = model.info
    assert (info.arch, info.name, info.quantisation) == ("llama", tiny.name, "all F32")
    assert (info.n_layer, info.n_embd, info.n_head, info.n_head_kv) == (2, 64, 4, 2)
    assert (info.n_vocab, info.n_ctx_train) == (tiny.n_vocab, tiny.n_ctx_train)
    assert info.chat_template == tiny.chat_template
    assert info.eos == IM_END
    assert info.metadata["general.architecture"] == "llama"


def test_progress_rises_to_one(tiny_model_path: Path) -> None:
    """Progress is told from 0 to 1 and never falls."""
    seen: list[float] = []
    with Model(tiny_model_path, on_progress=seen.append):
        pass
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_progress_can_cancel(tiny_model_path: Path) -> None:
    """Loading stops when the callback returns False."""
    with pytest.raises(CancelledError):
        Model(tiny_model_path, on_progress=lambda _: False)


def test_an_error_in_progress_is_the_callers(tiny_model_path: Path) -> None:
    """What the callback raises comes out, and loading has stopped by then."""

    def fail(_: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Model(tiny_model_path, on_progress=fail)
    assert not [thread for thread in threading.enumerate() if thread.name == "hoshikage-load"]


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_say_why(kind: str, tmp_path: Path) -> None:
    """Each way a file can be broken gives a ModelLoadError with the path and a reason."""
    path = BROKEN[kind](tmp_path / "broken.gguf")
    with pytest.raises(ModelLoadError) as caught:
        Model(path)
    assert caught.value.path == str(path)
    assert len(caught.value.reason) > 10
    assert caught.value.reason != "llama.cpp gave no reason"


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.gguf", "No such file"), (".", "folder"), ("nul\0byte.gguf", "null byte")]
)
def test_paths_that_are_no_file(name: str, reason: str, tmp_path: Path) -> None:
    """What is not a file at all is said in plain words."""
    with pytest.raises(ModelLoadError, match=reason):
        Model(f"{tmp_path}/{name}")


def test_a_vocabulary_file_cannot_generate(tmp_path: Path) -> None:
    """Loading it whole fails; loading its vocabulary works, and an engine on that is refused."""
    path = TinyModel().write_vocab_only(tmp_path / "vocab.gguf")
    with pytest.raises(ModelLoadError):
        Model(path)
    with Model(path, vocab_only=True) as model:
        assert model.detokenize(model.tokenize("star")) == "star"
        with pytest.raises(UnsupportedError, match="vocabulary"):
            model.engine()


def test_a_vocabulary_renders_and_tokenizes_as_the_whole_model(smollm2_path: Path) -> None:
    """A prompt has the same token ids, and ends are the same, where only the vocabulary was loaded."""
    messages = [
        {"role": "system", "content": "星影 is quiet.\n\tÉté 🌟"},
        {"role": "user", "content": "<|im_end|> def f(x): return 1234567890"},
    ]
    with Model(smollm2_path) as whole, Model(smollm2_path, vocab_only=True) as vocabulary:
        prompts = [model.chat().render(messages) for model in (whole, vocabulary)]
        assert prompts[0] == dataclasses.replace(prompts[1], id_seed=prompts[0].id_seed)
        for special in (True, False):
            tokens = [model.tokenize(prompts[0].prompt, parse_special=special) for model in (whole, vocabulary)]
            assert tokens[0] == tokens[1]
            assert vocabulary.detokenize(tokens[0], special=True) == whole.detokenize(tokens[0], special=True)
        assert vocabulary.end_tokens == whole.end_tokens
        for name in ("arch", "name", "n_vocab", "chat_template", "bos", "eos", "eot", "add_bos", "metadata"):
            assert getattr(vocabulary.info, name) == getattr(whole.info, name)


@pytest.mark.parametrize("gpu_layers", [-1, 1.5, "some", True, None])
def test_gpu_layers_is_checked(gpu_layers: object, tiny_model_path: Path) -> None:
    """Only a count, "auto" and "all" are taken."""
    with pytest.raises(InvalidArgumentError, match="gpu_layers") as caught:
        Model(tiny_model_path, gpu_layers=gpu_layers)  # type: ignore[arg-type]
    assert caught.value.field == "gpu_layers"


def test_special_tokens(tiny_model_path: Path) -> None:
    """Special tokens are read from text only when asked for, and written out only when asked for."""
    with Model(tiny_model_path) as model:
        assert model.tokenize("<|im_end|>", parse_special=True) == [IM_END]
        assert len(model.tokenize("<|im_end|>")) > 1
        assert model.detokenize([IM_END]) == ""
        assert model.detokenize([IM_END], special=True) == "<|im_end|>"
        assert model.token_to_bytes(IM_END) == b""
        assert model.token_to_bytes(IM_END, special=True) == b"<|im_end|>"
        assert model.is_end(IM_END)
        assert not model.is_end(IM_END + 1)


@pytest.mark.parametrize("token", [-1, TinyModel().n_vocab, 2**31 - 1, 2**40, 1.5, "a"])
def test_tokens_outside_the_vocabulary(token: object, tiny_model_path: Path) -> None:
    """No token id reaches llama.cpp unless it is in the vocabulary."""
    with Model(tiny_model_path) as model, model.engine(n_ctx=64) as engine:
        uses: list[Callable[[], object]] = [
            lambda: model.detokenize([token]),  # type: ignore[list-item]
            lambda: model.token_to_bytes(token),  # type: ignore[arg-type]
            lambda: engine.open([token]),  # type: ignore[list-item]
        ]
        for use in uses:
            with pytest.raises(InvalidArgumentError):
                use()


def test_arguments_of_the_wrong_type(tiny_model_path: Path) -> None:
    """Whatever a caller passes by mistake, the error is ours and names the argument."""
    with Model(tiny_model_path) as model, model.engine(n_ctx=64) as engine:
        uses: dict[str, list[Callable[[], object]]] = {
            "path": [lambda: Model(5)],  # type: ignore[arg-type]
            "use_mmap": [lambda: Model(tiny_model_path, use_mmap=None)],  # type: ignore[arg-type]
            "text": [lambda: model.tokenize(5)],  # type: ignore[arg-type]
            "tokens": [
                lambda: model.detokenize(10**12),  # type: ignore[arg-type]
                lambda: model.detokenize("ab"),  # type: ignore[arg-type]
                lambda: engine.stream(None),  # type: ignore[arg-type]
            ],
            "token": [lambda: model.token_to_bytes([1])],  # type: ignore[arg-type]
            "template": [lambda: model.chat(5), lambda: model.chat("a\0b")],  # type: ignore[arg-type]
            "max_tokens": [
                lambda: engine.stream("a", max_tokens=1.5),  # type: ignore[arg-type]
                lambda: engine.stream("a", max_tokens=True),
            ],
            "stop": [
                lambda: engine.stream("a", stop=None),  # type: ignore[arg-type]
                lambda: engine.stream("a", stop=[b"x"]),  # type: ignore[list-item]
            ],
            "sampling": [lambda: engine.stream("a", {"temperature": 0})],  # type: ignore[arg-type]
        }
        for field, calls in uses.items():
            for call in calls:
                with pytest.raises(InvalidArgumentError) as caught:
                    call()
                assert caught.value.field == field
        assert model.tokenize(bytearray(b"star")) == model.tokenize("star")


def test_a_lone_surrogate_is_refused(tiny_model_path: Path) -> None:
    """Python strings that are not Unicode text give a clear error."""
    with Model(tiny_model_path) as model, pytest.raises(InvalidArgumentError, match="Unicode"):
        model.tokenize("\ud800")


MODEL_USES: dict[str, Callable[[Model], object]] = {
    "tokenize": lambda model: model.tokenize("a"),
    "detokenize": lambda model: model.detokenize([5]),
    "token_to_bytes": lambda model: model.token_to_bytes(5),
    "chat": lambda model: model.chat(),
    "engine": lambda model: model.engine(),
}
ENGINE_USES: dict[str, Callable[[Engine], object]] = {
    "generate": lambda engine: engine.generate("a"),
    "stream": lambda engine: engine.stream("a"),
    "chat": lambda engine: engine.chat([{"role": "user", "content": "a"}]),
    "stream_chat": lambda engine: engine.stream_chat([{"role": "user", "content": "a"}]),
    "open": lambda engine: engine.open([5]),
    "step": lambda engine: engine.step(),
}


@pytest.mark.parametrize("use", MODEL_USES.values(), ids=MODEL_USES)
def test_a_closed_model_raises(use: Callable[[Model], object], tiny_model_path: Path) -> None:
    """Every method of a closed model raises, also one that was called before; closing twice is fine."""
    model = Model(tiny_model_path)
    model.token_to_bytes(5)
    model.close()
    model.close()
    with pytest.raises(ClosedError):
        use(model)


@pytest.mark.parametrize("use", ENGINE_USES.values(), ids=ENGINE_USES)
def test_closing_the_model_closes_its_engines(use: Callable[[Engine], object], tiny_model_path: Path) -> None:
    """An engine is closed with its model."""
    model = Model(tiny_model_path)
    engine = model.engine(n_ctx=64)
    model.close()
    with pytest.raises(ClosedError):
        use(engine)


def test_a_closed_sequence_raises(tiny_model_path: Path) -> None:
    """Every method of a closed sequence raises, and closing it after its engine is fine."""
    with Model(tiny_model_path) as model:
        engine = model.engine(n_ctx=64)
        sequence = engine.open([5])
        sequence.prefill()
        left_open = sequence
        sequence.close()
        for use in (sequence.prefill, sequence.sample, sequence.step, sequence.logits, lambda: sequence.append(5)):
            with pytest.raises(ClosedError):
                use()
        left_open = engine.open([5])
        engine.close()
        left_open.close()


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_opening_and_closing_leaks_nothing(tiny_model_path: Path) -> None:
    """200 cycles of everything that allocates leave memory where it was after a few."""

    def cycle() -> None:
        with Model(tiny_model_path) as model, model.engine(n_ctx=256) as engine:
            engine.chat([{"role": "user", "content": "a"}], SamplingParams(grammar='root ::= "a"*'), max_tokens=3)

    for _ in range(20):
        cycle()
    before = resident_bytes()
    for _ in range(200):
        cycle()
    # One leaked model (0.6 MB) a cycle would be 120 MB, one leaked sampler (13 kB) a cycle 2.6 MB.
    assert resident_bytes() - before < 2.5e6


def test_filling_in_the_middle(tmp_path: Path) -> None:
    """Prefix and suffix stand behind their tokens, as text: what looks like a special token in them is none."""
    specials = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    pre, suf, mid = range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + 3)
    for add_bos in (False, True):
        path = TinyModel(more_specials=specials, add_bos=add_bos).write_vocab_only(tmp_path / "fim.gguf")
        with Model(path, vocab_only=True) as model:
            prompt = model.fill_in_middle("a = <|fim_middle|>", "")
            body = model.tokenize("a = <|fim_middle|>", add_special=False)
            assert len(body) > 5
            assert prompt == [model.info.bos] * add_bos + [pre, *body, suf, mid]
            assert model.fill_in_middle("", "b")[-3:] == [suf, *model.tokenize("b", add_special=False), mid]


def test_a_vocabulary_without_a_middle(tiny_model_path: Path) -> None:
    """Where the model was not trained to, it is not asked to."""
    with Model(tiny_model_path) as model, pytest.raises(UnsupportedError, match="middle"):
        model.fill_in_middle("a", "b")
