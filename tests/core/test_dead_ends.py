"""Grammars that ask for what a vocabulary cannot spell."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hoshikage_core import DeadEndError, Engine, InvalidArgumentError, Model, SamplingParams

# No token of SmolLM2 has the bytes 04 06 13 14 16 1D C0 C1 F1 F2 F5 to FF (the bytes of each token were looked at).
RARE = "\U00040000"
# `make asan` builds llama.cpp with assertions, and its random choice asserts that there is one.
NO_ASSERTIONS = pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="assert(found) in llama.cpp")


@pytest.fixture(scope="module")
def engine(smollm2_path: Path) -> Iterator[Engine]:
    with Model(smollm2_path) as model, model.engine(n_ctx=512, n_threads=1) as engine:
        yield engine


@pytest.mark.parametrize("grammar", [rf'root ::= "a{RARE}b"', r'root ::= "\x04"', "root ::= [\\x13]", "root ::= [z-a]"])
@pytest.mark.parametrize("temperature", [0, 1])
@NO_ASSERTIONS
def test_a_dead_end_is_the_grammars_fault(engine: Engine, grammar: str, temperature: float) -> None:
    """It has an error of its own, and the engine goes on."""
    with pytest.raises(DeadEndError):
        engine.generate("x", SamplingParams(grammar=grammar, temperature=temperature), max_tokens=8)
    assert engine.generate("x", max_tokens=1).n_completion == 1


@NO_ASSERTIONS
def test_biases_without_a_way_out(engine: Engine) -> None:
    """Without a grammar they are to blame."""
    biases = dict.fromkeys(range(engine.model.info.n_vocab), -math.inf)
    with pytest.raises(InvalidArgumentError, match="biases"):
        engine.generate("x", SamplingParams(logit_bias=biases), max_tokens=1)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": RARE}, RARE),
        ({"enum": [f"a{RARE}", f"b\U000dffff\U0001f600{RARE}"]}, None),
        ({"const": "a\0b"}, "a\0b"),
        ({"type": "string", "pattern": "^a\0b$"}, "a\0b"),
        ({"type": "object", "properties": {"a\0b": {"const": 1}}, "required": ["a\0b"]}, {"a\0b": 1}),
        ({"const": {RARE: [RARE, "\x04"]}}, {RARE: [RARE, "\x04"]}),
        (
            {"properties": {RARE: {"const": 1}}, "required": [RARE], "additionalProperties": False, "type": "object"},
            {RARE: 1},
        ),
    ],
)
def test_json_spells_it_all_the_same(engine: Engine, schema: dict[str, Any], value: Any) -> None:
    """In JSON there is an escape for every character."""
    text = engine.generate("x", SamplingParams(json_schema=schema, seed=1), max_tokens=100).text
    assert json.loads(text) == value if value is not None else json.loads(text) in schema["enum"]


@pytest.mark.parametrize("grammar", ["\0", 'root ::= "a" # \0', 'root ::= "a\0b"'])
def test_a_grammar_is_not_cut_off(engine: Engine, grammar: str) -> None:
    """One that C would read in part only is refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        SamplingParams(grammar=grammar)
    assert caught.value.field == "grammar"
    with pytest.raises(InvalidArgumentError) as caught:
        engine.model.chat().render([{"role": "user", "content": "x"}], grammar=grammar)
    assert caught.value.field == "grammar"
