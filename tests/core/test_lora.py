"""LoRA adapters: what they change, what they leave alone, and what is none."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tiny_bert import TinyBert
from tiny_gguf import TinyModel
from tiny_lora import BROKEN, EMBEDDINGS, TinyLora

from hoshikage_core import (
    AdapterLoadError,
    Engine,
    InsufficientMemoryError,
    InvalidArgumentError,
    Model,
    UnsupportedError,
    memory,
    require_memory,
)

PROMPT = list(range(40, 60))


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Iterator[Model]:
    with Model(tiny_model_path, gpu_layers=0) as model:
        yield model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyLora().write(tmp_path_factory.mktemp("loras") / "adapter.gguf")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyLora(seed=1).write(tmp_path_factory.mktemp("loras") / "other.gguf")


def open_engine(model: Model, *lora: tuple[Path, float]) -> Engine:
    return model.engine(256, n_threads=1, lora=lora)


def logits_of(engine: Engine) -> npt.NDArray[np.float32]:
    with engine.open(PROMPT, reuse=False) as sequence:
        sequence.prefill()
        return np.array(sequence.logits(), dtype=np.float32)


def logits(model: Model, *lora: tuple[Path, float]) -> npt.NDArray[np.float32]:
    with open_engine(model, *lora) as engine:
        return logits_of(engine)


def test_the_scale_counts(model: Model, adapter: Path) -> None:
    """With 0 nothing changes, to the bit; with 1 and 2 something else does."""
    plain = logits(model)
    assert np.array_equal(plain, logits(model, (adapter, 0)))
    once, twice = logits(model, (adapter, 1)), logits(model, (adapter, 2))
    assert np.abs(once - plain).max() > 0.1
    assert np.abs(twice - once).max() > 0.1


def test_it_is_what_the_file_says(tmp_path: Path) -> None:
    """The weights with scale * alpha / rank * B A added to them, as the adapter's method defines it."""
    lora = TinyLora(targets=(("output.weight", 64, 512),), alpha=2.0, rank=4)
    path, plain = lora.write(tmp_path / "lora.gguf"), TinyModel().write(tmp_path / "plain.gguf")
    random = np.random.default_rng(lora.seed)
    a, b = (random.standard_normal(shape, dtype=np.float32) for shape in ((4, 64), (512, 4)))

    class Merged(TinyModel):
        def _add_llama_tensors(self, writer: object) -> None:
            super()._add_llama_tensors(writer)  # type: ignore[arg-type]
            writer.tensors[0]["output.weight"].tensor += np.float32(3 * 2.0 / 4) * (b @ a)  # type: ignore[attr-defined]

    merged = Merged().write(tmp_path / "merged.gguf")
    with Model(plain, gpu_layers=0) as model, Model(merged, gpu_layers=0) as expected:
        assert np.allclose(logits(model, (path, 3)), logits(expected), atol=1e-2)
        assert not np.allclose(logits(model), logits(expected), atol=1e-1)


def test_several_add_up(model: Model, adapter: Path, other: Path) -> None:
    """In any order; and the same file may be there twice."""
    both = logits(model, (adapter, 1), (other, 0.5))
    assert np.allclose(both, logits(model, (other, 0.5), (adapter, 1)), atol=1e-3)
    assert not np.allclose(both, logits(model, (adapter, 1)), atol=1e-1)
    assert np.allclose(logits(model, (adapter, 1), (adapter, 1)), logits(model, (adapter, 2)), atol=1e-3)


def test_engines_of_one_model_have_their_own(model: Model, adapter: Path, other: Path) -> None:
    """Each gives what it gives alone, whoever else computes at the same time, or has come and gone."""
    alone = [logits(model), logits(model, (adapter, 1)), logits(model, (other, 1))]
    with open_engine(model) as plain, open_engine(model, (adapter, 1)) as first:
        open_engine(model, (adapter, 1)).close()
        with open_engine(model, (other, 1)) as second:
            engines = [plain, first, second]
            for _ in range(2):
                for engine, expected in zip(engines, alone, strict=True):
                    assert np.array_equal(logits_of(engine), expected)
        assert np.array_equal(logits_of(first), alone[1])


def test_an_engine_may_be_opened_while_others_compute(model: Model, adapter: Path, other: Path) -> None:
    """In another thread; the answers of the one that computes stay the same."""
    with open_engine(model, (adapter, 1)) as engine:
        expected = logits_of(engine)
        opening = threading.Thread(target=lambda: [logits(model, (other, 1)) for _ in range(20)])
        opening.start()
        while opening.is_alive():
            assert np.array_equal(logits_of(engine), expected)
        opening.join()


@pytest.mark.parametrize("order", ["engine first", "model first", "collected"])
def test_closing_in_any_order(tiny_model_path: Path, adapter: Path, other: Path, order: str) -> None:
    """Nothing is freed twice, and nothing that is still in use."""
    model = Model(tiny_model_path, gpu_layers=0)
    engines = [open_engine(model, (adapter, 1), (other, 1)), open_engine(model, (other, 1))]
    first = engines[0].generate(PROMPT, max_tokens=2)
    assert first.tokens
    if order == "engine first":
        for engine in engines:
            engine.close()
        model.close()
    elif order == "model first":
        model.close()
        for engine in engines:
            engine.close()
    else:
        del model, engines
        gc.collect()


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_adapter_for_it(model: Model, tmp_path: Path, what: str) -> None:
    """One typed error that says why, in whichever way the engine is opened; the model can be used afterwards."""
    write, reason = BROKEN[what]
    path = write(tmp_path / "broken.gguf")
    for opens in (model.engine, model.embedder):
        with pytest.raises(AdapterLoadError, match="cannot use the adapter") as caught:
            opens(64, n_threads=1, lora=[(path, 1)])
        assert caught.value.path == str(path)
        assert reason in caught.value.reason
        assert caught.value.code == "adapter_load_failed"
    assert logits(model).shape == (model.info.n_vocab,)


def test_embeddings_that_the_output_shares(tmp_path: Path) -> None:
    """llama.cpp can change embeddings, but ends the process where they are the output's weights as well."""
    path = EMBEDDINGS.write(tmp_path / "lora.gguf")
    with Model(TinyModel().write(tmp_path / "own.gguf"), gpu_layers=0) as model:
        assert np.abs(logits(model, (path, 1)) - logits(model)).max() > 0.1
    tied = TinyModel().write(tmp_path / "tied.gguf", omit=["output.weight"])
    with Model(tied, gpu_layers=0) as model, pytest.raises(AdapterLoadError, match="the output's weights as well"):
        open_engine(model, (path, 1))


@pytest.mark.parametrize(
    "lora", ["adapter.gguf", 7, [("a.gguf",)], ["ab"], [("a.gguf", "1")], [("a.gguf", float("nan"))], [(3.5, 1)]]
)
def test_what_is_no_list_of_adapters(model: Model, lora: object) -> None:
    """The argument is named."""
    with pytest.raises(InvalidArgumentError, match="lora") as caught:
        model.engine(64, lora=lora)  # type: ignore[arg-type]
    assert caught.value.field == "lora"


def test_a_vocabulary_has_none(tiny_model_path: Path, adapter: Path) -> None:
    """There is nothing to change."""
    with Model(tiny_model_path, vocab_only=True) as model, pytest.raises(UnsupportedError):
        open_engine(model, (adapter, 1))


def test_embeddings_change_too(tmp_path: Path, model: Model, adapter: Path) -> None:
    """Of a model that generates, and of an encoder."""
    bert = TinyBert()
    targets = (("blk.0.attn_q.weight", bert.n_embd, bert.n_embd),)
    for_bert = TinyLora(arch="bert", targets=targets).write(tmp_path / "bert-lora.gguf")
    with Model(bert.write(tmp_path / "bert.gguf"), gpu_layers=0) as encoder:
        for embeds, lora in ((model, adapter), (encoder, for_bert)):
            plain, changed, zero = (
                np.array(embeds.embedder(64, n_threads=1, lora=loras).embed(["abc"])[0])
                for loras in ([], [(lora, 1.0)], [(lora, 0.0)])
            )
            assert np.array_equal(plain, zero)
            assert np.abs(plain - changed).max() > 0.01


def test_adapters_count_as_memory(tiny_model_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they take is in the figures of the error."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    needed = []
    for lora in ((), ((adapter, 1.0),)):
        with pytest.raises(InsufficientMemoryError) as caught:
            require_memory(tiny_model_path, gpu_layers=0, n_ctx=64, lora=lora)
        needed.append(caught.value.needed_bytes)
    assert needed[1] - needed[0] == adapter.stat().st_size
