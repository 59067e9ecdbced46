"""Calls that are written as no template shows them, and texts that begin like one and are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_support.source import members_folder
from hoshikage_core import Engine, MessageParser, Model, SamplingParams

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
GLM = members_folder("models/templates/*") / "models" / "templates" / "GLM-4.6.jinja"
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


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_call_that_is_begun_is_held_to_its_grammar(engine: Engine, temperature: float) -> None:
    """However unlikely the model finds it, and where it takes the likeliest token as well."""
    parameters = {"type": "object", "properties": {"zone": {"enum": ["qx7#"]}}, "required": ["zone"]}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    asked = [{"role": "user", "content": "How are you?"}]
    prompt = engine.model.chat().render(asked, tools=[tool], parallel_tool_calls=False)
    begun = "Well, <tool_call>"
    sampling = SamplingParams(temperature=temperature, seed=1)
    answer = engine.stream(prompt, sampling, so_far=engine.model.tokenize(begun), max_tokens=100).result()
    parser = MessageParser(prompt)
    parser.feed(begun + answer.text)
    parser.finish()
    (call,) = parser.message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"zone": "qx7#"}


def test_white_space_before_the_end_of_a_call(engine: Engine) -> None:
    """The grammar lets it pass, so the call is read with it, and its arguments are whole."""
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    prompt = engine.model.chat(GLM.read_text(encoding="utf-8")).render([{"role": "user", "content": "?"}], tools=[tool])
    parser = MessageParser(prompt)
    parser.feed("<tool_call>look\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n </tool_call>")
    parser.finish()
    (call,) = parser.message["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"n":1}'}
