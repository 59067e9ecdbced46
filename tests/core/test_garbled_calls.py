"""A text that begins like a call and is none: what binds calls lets it pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoshikage_core import Engine, MessageParser, Model, SamplingParams

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
MENTIONED = "Write `<tool_call>` first."


@pytest.fixture(scope="module")
def engine(smollm2_path: Path) -> Iterator[Engine]:
    with Model(smollm2_path) as model, model.engine(n_ctx=512, n_threads=1) as engine:
        yield engine


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_tag_is_mentioned(engine: Engine, temperature: float) -> None:
    """One token ends the tag and goes on as no call does (">`"): the answer goes on, and is content."""
    prompt = engine.model.chat().render([{"role": "user", "content": "How are tools called?"}], tools=[TOOL])
    assert prompt.grammar_lazy
    tokens = engine.model.tokenize(MENTIONED)
    assert any(engine.model.token_to_bytes(token).startswith(b">`") for token in tokens)
    sampling = SamplingParams(temperature=temperature, seed=1)
    answer = engine.stream(prompt, sampling, so_far=tokens, max_tokens=len(tokens) + 8).result()
    assert answer.n_completion == len(tokens) + 8
    parser = MessageParser(prompt)
    text = MENTIONED + answer.text
    parser.feed(text)
    parser.finish()
    assert parser.message == {"role": "assistant", "content": text}
