"""Log-probabilities of an answer: those of the logits, told with the text they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage_core import Engine, Event, Generation, InvalidArgumentError, Model, SamplingParams, TokenLogprobs
from hoshikage_core.logprobs import LogprobQueue
from hoshikage_core.text import Utf8Decoder

FREE = SamplingParams(temperature=1.2, top_k=0, top_p=1, min_p=0, seed=3)


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=256) as engine:
        yield engine


def text_of(engine: Engine, entries: tuple[TokenLogprobs, ...]) -> str:
    return b"".join(engine.model.token_to_bytes(entry.token) for entry in entries).decode("utf-8", "replace")


@pytest.mark.parametrize("sampling", [FREE, SamplingParams(temperature=0), SamplingParams(min_tokens=12, seed=1)])
def test_they_are_those_of_the_logits(engine: Engine, sampling: SamplingParams) -> None:
    """Each token has the log-probability that the low level finds by hand, before any sampler and any mask."""
    prompt = engine.model.tokenize("star")
    answer = engine.stream(prompt, sampling, max_tokens=12, n_top_logprobs=3, reuse=False).result()
    with engine.open(prompt, reuse=False) as sequence:
        for token, entry in zip(answer.tokens, answer.logprobs, strict=True):
            sequence.prefill()
            logits = list(sequence.logits())
            log_sum = math.log(sum(math.exp(logit) for logit in logits))
            assert entry.token == token
            assert entry.logprob == pytest.approx(logits[token] - log_sum, abs=1e-4)
            assert list(entry.top) == sequence.top_logprobs(3)
            sequence.append(token)


@pytest.mark.parametrize("n_top", [0, 1, 5, 20, 512])
def test_as_many_as_asked_for(engine: Engine, n_top: int) -> None:
    """Up to the whole vocabulary, likeliest first; the token's own is there also when it is not among them."""
    for entry in engine.generate("star", FREE, max_tokens=6, n_top_logprobs=n_top).logprobs:
        assert len(entry.top) == n_top
        assert [item.logprob for item in entry.top] == sorted((item.logprob for item in entry.top), reverse=True)
        assert entry.logprob <= 0


def test_none_without_being_asked(engine: Engine) -> None:
    """They cost nothing where nobody wants them."""
    assert engine.generate("star", FREE, max_tokens=6).logprobs == ()


@pytest.mark.parametrize("n_top", [-1, 513, True, 1.5, "1"])
def test_numbers_that_cannot_be(engine: Engine, n_top: object) -> None:
    """They are refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        engine.stream("a", n_top_logprobs=n_top)  # type: ignore[arg-type]
    assert caught.value.field == "n_top_logprobs"


@settings(max_examples=150)
@given(data=st.data(), seed=st.integers(0, 2**32), min_tokens=st.integers(0, 8))
def test_their_tokens_are_the_text(engine: Engine, data: st.DataObject, seed: int, min_tokens: int) -> None:
    """Joined, they decode to the answer's text, or to more only where the stop string was cut from the last token."""
    sampling = SamplingParams(temperature=1.5, top_k=0, top_p=1, min_p=0, seed=seed, min_tokens=min_tokens)
    text = engine.generate("影", sampling, max_tokens=16).text
    at = data.draw(st.integers(0, len(text)))
    stop = [part] if (part := text[at : at + data.draw(st.integers(1, 5))]) and data.draw(st.booleans()) else []
    events = list(engine.stream("影", sampling, max_tokens=16, stop=stop, n_top_logprobs=0))
    shown = "".join(event.text for event in events)
    entries = tuple(entry for event in events for entry in event.logprobs)
    told = text_of(engine, entries)
    assert told.startswith(shown)
    if told != shown:
        assert stop
        # The last token's text begins in what is shown and goes on in the stop string.
        assert len(text_of(engine, entries[:-1]).removesuffix("\ufffd")) < len(shown)


def played(engine: Engine, script: bytes, stop: list[str], so_far: int = 0) -> list[Event]:
    """An answer of one token for each byte; its log-probabilities are made up."""
    token_of = {engine.model.token_to_bytes(token): token for token in range(engine.model.info.n_vocab)}
    tokens = [token_of[bytes([byte])] for byte in script]
    generation: Generation
    with engine.stream([5], max_tokens=len(tokens), stop=stop, n_top_logprobs=0) as generation:
        reader = generation._reader
        assert reader is not None
        reader.read = lambda _, token: TokenLogprobs(token, -1.0, ())  # type: ignore[method-assign]
        for token in tokens[so_far:]:
            if generation.finished:
                break
            generation.on_token(token)
        return generation.take()


@pytest.mark.parametrize(
    ("script", "stop", "told"),
    [
        ("aé€b", "", [b"a", b"", b"\xc3\xa9", b"", b"", b"\xe2\x82\xac", b"b"]),
        ("abc", "bc", [b"a", b"", b""]),
        ("abd", "bc", [b"a", b"", b"bd"]),
        ("aabaad", "aad", [b"", b"", b"aab", b"", b"", b""]),
        ("aé", "é", [b"a", b"", b""]),
    ],
)
def test_when_they_are_told(engine: Engine, script: str, stop: str, told: list[bytes]) -> None:
    """With the first character of their text: not before a character is whole or a stop string has not come."""
    events = played(engine, script.encode(), [stop] if stop else [])
    got = [b"".join(engine.model.token_to_bytes(entry.token) for entry in event.logprobs) for event in events]
    assert got == told


@given(st.lists(st.binary(max_size=5), max_size=12), st.data())
def test_where_each_piece_begins(pieces: list[bytes], data: st.DataObject) -> None:
    """However bytes are cut, a piece is told exactly when a character is shown that one of its bytes is a part of; one
    without bytes with the character after it, or as the rest.
    """
    queue, decoder = LogprobQueue(), Utf8Decoder()
    text, begins = "", []
    for index, piece in enumerate(pieces):
        pending = decoder.pending
        new = decoder.decode(piece)
        queue.add(index, TokenLogprobs(index, 0, ()), piece, pending, len(new))
        text += new
        if piece:
            # The characters before the one that holds the piece's first byte, found by decoding from the start.
            upto = b"".join(pieces[:index]) + piece[:1]
            begins.append((index, len(upto.decode("utf-8", "replace")) - 1))
        else:
            begins.append((index, len(text)))
    text += decoder.flush()
    n_shown = data.draw(st.integers(0, len(text)))
    assert [entry.token for entry in queue.shown(n_shown)] == [index for index, at in begins if at < n_shown]
    assert [entry.token for entry in queue.rest()] == [index for index, at in begins if at >= n_shown]
