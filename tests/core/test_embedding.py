"""Embeddings: what llama.cpp computes, and what a user may do with it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from tiny_bert import CLS, SEP, TinyBert
from tiny_gguf import TinyModel

import hoshikage_core.memory
from hoshikage_core import (
    CancelledError,
    ClosedError,
    ContextLengthError,
    InsufficientMemoryError,
    InvalidArgumentError,
    Model,
    UnsupportedError,
)
from hoshikage_core.embedding import Embedder, Pooling

Vector = npt.NDArray[np.float32]
TEXTS = ["the lighthouse", "sea", "night and stars of the sea, again and again", "x"]


@pytest.fixture(scope="module")
def bert(tiny_bert_path: Path) -> Iterator[Model]:
    with Model(tiny_bert_path, gpu_layers=0) as model:
        yield model


@pytest.fixture(scope="module")
def llama(tiny_model_path: Path) -> Iterator[Model]:
    with Model(tiny_model_path, gpu_layers=0) as model:
        yield model


@pytest.fixture(scope="module", params=["bert", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    """An encoder, which computes an input whole, and a decoder, which computes it in pieces."""
    return request.getfixturevalue(request.param)


def embed(model: Model, inputs: list[Any], *, pooling: Pooling | None = None, **options: Any) -> list[Vector]:
    with model.embedder(pooling=pooling) as embedder:
        return [np.array(vector) for vector in embedder.embed(inputs, **options)]


def close_to(expected: npt.ArrayLike) -> Any:
    """Equal but for rounding: keys and values are halves, and sums have another order in another batch."""
    return pytest.approx(np.asarray(expected), rel=1e-3, abs=2e-3)


def bert_by_hand(path: Path, tokens: list[int], n_head: int) -> npt.NDArray[np.float64]:
    """The last hidden states of a BERT as its paper has them (arXiv:1810.04805), from the file's own numbers."""
    weights = {tensor.name: np.asarray(tensor.data, dtype=np.float64) for tensor in gguf.GGUFReader(path).tensors}

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True)) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: Any) -> Any:
        return x.reshape(len(tokens), n_head, -1).transpose(1, 0, 2)

    x = weights["token_embd.weight"][tokens] + weights["position_embd.weight"][: len(tokens)]
    x = norm(x + weights["token_types.weight"][0], "token_embd_norm")
    for layer in range(sum(name.endswith("attn_q.weight") for name in weights)):
        prefix = f"blk.{layer}."
        q, k, v = (heads(linear(x, prefix + name)) for name in ("attn_q", "attn_k", "attn_v"))
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
        seen = (scores / scores.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(tokens), -1)
        x = norm(x + linear(seen, prefix + "attn_output"), prefix + "attn_output_norm")
        inner = linear(x, prefix + "ffn_up")
        inner = inner * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = norm(x + linear(inner, prefix + "ffn_down"), prefix + "layer_output_norm")
    return np.asarray(x)


def test_an_encoder_computes_what_its_paper_says(bert: Model) -> None:
    """llama.cpp's vectors are those of a BERT written down in NumPy."""
    tokens = bert.tokenize("the lighthouse and the sea")
    [vectors] = embed(bert, [tokens], pooling="none", normalize=False)
    assert vectors == pytest.approx(bert_by_hand(Path(bert.path), tokens, n_head=4), abs=0.02)


def test_the_models_tokens_are_at_the_ends(bert: Model) -> None:
    """A text becomes CLS, its words, SEP; and SEP written in a text is that token, as for BERT's own tokenizer."""
    with bert.embedder() as embedder:
        tokens = embedder.tokenize("the sea[SEP]the star")
    assert (tokens[0], tokens[-1], tokens.count(SEP)) == (CLS, SEP, 2)


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("mean", lambda rows: rows.mean(axis=0)),
        ("cls", lambda rows: rows[0]),
        ("last", lambda rows: rows[-1]),
    ],
)
def test_poolings_are_made_of_the_tokens_vectors(model: Model, pooling: Pooling, pool: Callable[[Any], Any]) -> None:
    """Each is what its name says of the vectors that `none` gives."""
    per_token = embed(model, TEXTS, pooling="none", normalize=False)
    pooled = embed(model, TEXTS, pooling=pooling, normalize=False)
    for rows, vector in zip(per_token, pooled, strict=True):
        assert vector == close_to(pool(rows))


@pytest.mark.parametrize("pooling", ["none", "mean", "cls", "last"])
def test_together_as_alone(model: Model, pooling: Pooling) -> None:
    """What an input shares a batch with does not show in its vector, whether many fit in or not."""
    inputs = [model.tokenize(text) for text in TEXTS * 20]
    with model.embedder(pooling=pooling) as embedder:
        assert 1 < embedder.n_together(list(map(len, inputs))) < len(inputs)
        together = embedder.embed(inputs)
        for tokens, vector in zip(inputs[:5], together, strict=False):
            assert np.array(vector) == close_to(embedder.embed([tokens])[0])
    assert len(together) == len(inputs)


@pytest.mark.parametrize("pooling", ["none", "mean", "cls", "last"])
def test_pieces_do_not_show(llama: Model, pooling: Pooling) -> None:
    """A decoder's input that is computed in many pieces has the vector that it has in one."""
    tokens = [3 + i % 400 for i in range(700)]
    with llama.embedder(1024, pooling=pooling, n_batch=64) as in_pieces, llama.embedder(1024, n_batch=1024) as whole:
        [vector] = in_pieces.embed([tokens])
        assert whole.pooling == "last"
        if pooling == "last":
            assert np.array(vector) == close_to(whole.embed([tokens])[0])
        else:
            with llama.embedder(1024, pooling=pooling, n_batch=1024) as other:
                assert np.array(vector) == close_to(other.embed([tokens])[0])


def test_the_file_says_how_to_pool(tmp_path: Path) -> None:
    """Its pooling is taken where none is asked for; an encoder whose file is silent takes the mean."""
    for said, expected in ((gguf.PoolingType.CLS, "cls"), (gguf.PoolingType.LAST, "last"), (None, "mean")):
        with Model(TinyBert(pooling=said).write(tmp_path / "m.gguf"), gpu_layers=0) as model:
            assert model.info.pooling == (expected if said else None)
            with model.embedder() as embedder:
                assert embedder.pooling == expected


def test_a_decoder_takes_the_last_token(llama: Model) -> None:
    """A model that generates text gives, unless told otherwise, the vector of the last token, which has seen all."""
    assert llama.info.pooling is None
    with llama.embedder() as embedder:
        assert (embedder.pooling, embedder.n_embd) == ("last", 64)


def test_a_recurrent_model(tmp_path: Path) -> None:
    """Its state does not go from one input to the next."""
    with Model(TinyModel().write_mamba(tmp_path / "mamba.gguf"), gpu_layers=0) as model:
        first, second, again = embed(model, ["night", "sea", "night"])
        assert again == close_to(first)
        assert second != close_to(first)
        [mean] = embed(model, ["the night"], pooling="mean", normalize=False)
        assert mean == close_to(embed(model, ["the night"], pooling="none", normalize=False)[0].mean(axis=0))


def test_the_length_is_one(model: Model) -> None:
    """Unless that is not wanted; the direction is the same."""
    [plain], [unit] = embed(model, ["sea"], normalize=False), embed(model, ["sea"])
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-6)
    assert unit == close_to(plain / np.linalg.norm(plain))


def test_fewer_dimensions(model: Model) -> None:
    """They are the first ones, and of length 1 again."""
    [whole], [cut] = embed(model, ["sea"], normalize=False), embed(model, ["sea"], dimensions=10)
    assert cut == close_to(whole[:10] / np.linalg.norm(whole[:10]))
    for dimensions in (0, 65):
        with pytest.raises(InvalidArgumentError, match="dimensions"):
            embed(model, ["sea"], dimensions=dimensions)


def test_texts_and_tokens_are_the_same(model: Model) -> None:
    """A text is what its tokens are; token ids are taken as they are."""
    by_text, by_tokens = embed(model, ["the sea", model.tokenize("the sea")])
    assert by_text.tolist() == close_to(by_tokens)


def test_a_vector_is_a_view_of_floats(model: Model) -> None:
    """Which goes into NumPy, a file or a socket without a copy, and cannot be changed by accident."""
    with model.embedder() as embedder:
        [vector] = embedder.embed(["sea"])
    assert (vector.format, vector.shape, vector.nbytes, vector.readonly) == ("f", (64,), 256, True)


def test_no_inputs_no_vectors(model: Model) -> None:
    """An empty list is no error."""
    assert embed(model, []) == []


def test_an_input_that_fits_exactly_and_one_that_does_not(bert: Model, llama: Model) -> None:
    """The error has both numbers. An encoder takes what it was trained with, whatever is asked for."""
    for model, n_ctx in ((bert, 128), (llama, 300)):
        with model.embedder(128 if model is llama else 4096) as embedder:
            limit = embedder.n_ctx
            assert limit == 128
            assert len(embedder.embed([[7] * limit])) == 1
            with pytest.raises(ContextLengthError) as caught:
                embedder.embed([[7], [7] * n_ctx + [7]])
        assert (caught.value.n_prompt, caught.value.n_ctx) == (n_ctx + 1, limit)
        assert "answer" not in str(caught.value)


def test_a_giant_text_is_refused_uncut(llama: Model) -> None:
    """As a prompt is; the error says that it has at least so many tokens."""
    with llama.embedder(64) as embedder, pytest.raises(ContextLengthError) as caught:
        embedder.embed(["sea " * 1_000_000])
    assert caught.value.is_at_least
    assert caught.value.n_ctx == 64


@pytest.mark.parametrize(
    "inputs", ["sea", [[]], [[-1]], [[10**6]], [["sea"]], [None], [b"sea"], ["\ud800"], [[True]]], ids=repr
)
def test_what_is_no_input(model: Model, inputs: Any) -> None:
    """It is named."""
    with pytest.raises(InvalidArgumentError):
        embed(model, inputs)


@pytest.mark.parametrize("options", [{"pooling": "sum"}, {"n_ctx": 0}, {"n_batch": 0}, {"n_threads": 0}], ids=repr)
def test_what_an_embedder_cannot_be(model: Model, options: dict[str, Any]) -> None:
    """The argument is named."""
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        model.embedder(**options)


def test_a_vocabulary_alone_cannot_embed(tmp_path: Path) -> None:
    """It says so."""
    path = TinyModel().write_vocab_only(tmp_path / "v.gguf")
    with Model(path, vocab_only=True) as model, pytest.raises(UnsupportedError, match="vocabulary"):
        model.embedder()


def test_an_encoder_cannot_generate(bert: Model) -> None:
    """It says so."""
    with pytest.raises(UnsupportedError, match="does not generate"):
        bert.engine()


def test_too_little_memory_is_known_before(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allocated then."""
    monkeypatch.setattr(hoshikage_core.memory, "available_bytes", lambda: 1000)
    with pytest.raises(InsufficientMemoryError) as caught:
        llama.embedder()
    assert caught.value.free_bytes == 1000


MEASURE = """
import sys
import hoshikage_core.memory
from hoshikage_core import Model

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

said = []
hoshikage_core.memory._require = lambda what, needed_bytes, free_bytes: said.append(needed_bytes)
with Model(sys.argv[1], gpu_layers=0) as model:
    before = resident_bytes()
    with model.embedder(1024, pooling=sys.argv[2], flash_attention=sys.argv[3] == "True", n_threads=1) as embedder:
        embedder.embed([[7] * 1024])
        print(resident_bytes() - before, said[-1])
"""


@pytest.mark.parametrize(
    ("kind", "pooling", "flash_attention"),
    [("bert", "mean", True), ("bert", "none", False), ("llama", "last", True), ("llama", "mean", False)],
)
def test_what_is_reckoned_is_enough(kind: str, pooling: str, flash_attention: bool, tmp_path: Path) -> None:
    """An embedder that has read the longest input has not taken more memory than was asked for."""
    path = tmp_path / "m.gguf"
    if kind == "bert":
        TinyBert(n_layer=2, n_embd=384, n_head=12, n_ctx_train=1024).write(path)
    else:
        TinyModel(n_layer=2, n_embd=384, n_head=12, n_vocab=15_000).write(path)
    command = [sys.executable, "-c", MEASURE, str(path), pooling, str(flash_attention)]
    taken_bytes, reckoned_bytes = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert 0 < taken_bytes < reckoned_bytes


def test_generating_goes_on_beside_it(llama: Model) -> None:
    """An engine and an embedder share the weights and nothing else."""
    with llama.engine(256) as engine, llama.embedder(256) as embedder:
        alone = engine.generate("the sea", max_tokens=8).text
        vector = np.array(embedder.embed(["the sea"])[0])
        generation = engine.stream("the sea", max_tokens=8)
        texts = []
        for event in generation:
            texts.append(event.text)
            assert np.array(embedder.embed(["the sea"])[0]) == close_to(vector)
    assert len(alone) > 0
    assert len(texts) > 1


def test_several_threads(model: Model) -> None:
    """Each gets its own vectors."""
    with model.embedder() as embedder:
        expected = [np.array(vector) for vector in embedder.embed(TEXTS)]
        found: dict[int, list[Vector]] = {}

        def run(index: int) -> None:
            found[index] = [np.array(embedder.embed([TEXTS[index]])[0]) for _ in range(20)]

        threads = [threading.Thread(target=run, args=(index,)) for index in range(len(TEXTS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index, vectors in found.items():
        for vector in vectors:
            assert vector == close_to(expected[index])


class Running:
    """A long embed() on another thread."""

    def __init__(self, embedder: Embedder, inputs: list[Any]) -> None:
        self.error: BaseException | None = None
        self._embedder = embedder
        self._inputs = inputs
        self._thread = threading.Thread(target=self._run)
        before = embedder.progress
        self._thread.start()
        deadline = time.monotonic() + 60
        while embedder.progress == before:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def _run(self) -> None:
        try:
            self._embedder.embed(self._inputs)
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def slow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Models that take a second or more for a full input."""
    path = tmp_path_factory.mktemp("models") / "slow.gguf"
    if request.param == "encoder":
        TinyBert(n_layer=24, n_embd=512, n_head=8, n_ctx_train=2048).write(path)
    else:
        TinyModel(n_layer=24, n_embd=512, n_head=8, n_ctx_train=2048).write(path)
    with Model(path, gpu_layers=0) as model:
        yield model


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_it_ends_within_milliseconds(slow: Model, way: str) -> None:
    """From another thread, in the middle of a native call; cancelled, it goes on to be used."""
    with slow.embedder(2048) as embedder:
        running = Running(embedder, [[7] * 2048] * 50)
        began = time.process_time()  # ours alone: a busy machine takes longer, but computes no more
        getattr(embedder, way)()
        running.join()
        assert time.process_time() - began < 0.5  # milliseconds; a whole call takes some seconds
        assert isinstance(running.error, CancelledError if way == "cancel" else ClosedError)
        if way == "cancel":
            assert len(embedder.embed([[7, 8]])) == 1


def test_a_cancel_that_comes_late_does_no_harm(bert: Model) -> None:
    """Neither where nothing runs, nor when the native call it was meant for has just ended."""
    with bert.embedder() as embedder:
        embedder.cancel()
        assert len(embedder.embed(["sea"])) == 1
        embedder._interrupt()  # what is left of a cancel() that came too late
        assert len(embedder.embed(["sea"])) == 1


def test_step_by_step(model: Model) -> None:
    """The same vectors, those of one native call at a time; what is cancelled computes no more, others go on."""
    inputs = [model.tokenize(text) for text in TEXTS * 20]
    with model.embedder() as embedder:
        embedding, other = embedder.start(inputs), embedder.start(inputs[:1])
        assert embedding.n_tokens == [len(tokens) for tokens in inputs]
        some = embedding.step()
        assert 1 < len(some) < len(inputs)
        rest = embedding.result()
        assert embedding.step() == []
        for vector, expected in zip(some + rest, embedder.embed(inputs), strict=True):
            assert np.array(vector) == close_to(expected)
        cancelled = embedder.start(inputs)
        cancelled.cancel()
        with pytest.raises(CancelledError):
            cancelled.step()
        assert len(other.step()) == 1


def test_closed_is_closed(tiny_bert_path: Path) -> None:
    """With it, or with its model; closing twice does no harm."""
    with Model(tiny_bert_path, gpu_layers=0) as model:
        embedder, other = model.embedder(), model.embedder()
        embedder.close()
        embedder.close()
        with pytest.raises(ClosedError):
            embedder.embed(["sea"])
        with pytest.raises(ClosedError):
            _ = embedder.progress
    with pytest.raises(ClosedError):
        other.embed([[7]])
