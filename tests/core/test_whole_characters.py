"""Under a grammar nothing but whole characters is said, whatever bytes a model likes best."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoshikage_core import Engine, Model, SamplingParams

# What grammars of llama.cpp take for a character: too long for what it says, half of a surrogate pair, beyond the last.
WRONG = [b"\xe0\x82\x80", b"\xf0\x82\x82\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xc1\x80"]


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=512, n_threads=1) as engine:
        yield engine


def token_of(engine: Engine, byte: int) -> int:
    """The token of a single byte."""
    return next(i for i in range(engine.model.info.n_vocab) if engine.model.token_to_bytes(i) == bytes([byte]))


@pytest.mark.parametrize("grammar", ["root ::= .{3}", "root ::= [^a]{3}", r"root ::= [\x01-\U0010FFFF]{3}"])
@pytest.mark.parametrize("wrong", WRONG, ids=bytes.hex)
def test_a_character_is_a_character(engine: Engine, grammar: str, wrong: bytes) -> None:
    """Three characters of a grammar are three characters of the text."""
    likes = {token_of(engine, byte): 90.0 - 10 * i for i, byte in enumerate(dict.fromkeys(wrong))}
    text = engine.generate("x", SamplingParams(grammar=grammar, logit_bias=likes, temperature=0), max_tokens=20).text
    assert len(text) == 3
    assert "\ufffd" not in text


def test_a_character_that_others_began(engine: Engine) -> None:
    """A generation that is taken up in the middle of a character knows where it is."""
    likes = {token_of(engine, 0x82): 90.0}
    sampling = SamplingParams(grammar="root ::= .", logit_bias=likes, temperature=0)
    with engine.open(engine.model.tokenize("x"), sampling) as sequence:
        sequence.extend([token_of(engine, 0xE0)])
        text = b"\xe0" + b"".join(engine.model.token_to_bytes(sequence.step()) for _ in range(2))
    assert len(text.decode()) == 1
