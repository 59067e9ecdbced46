"""Calls that a model may make, and begins: from there on a grammar holds them to the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from build_support.source import members_folder
from hoshikage_core import ChatPrompt, Engine, MessageParser, Model, SamplingParams

FOLDER = members_folder("models/templates/*") / "models" / "templates"
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
NEEDED = {"type": "object", "properties": {"n": DIGIT}, "required": ["n"]}
# By template: what ends its reasoning, if it has begun, and how a call begins.
BEGUN = {
    "Qwen3-Coder": ("", "<tool_call>\n<function="),
    "GLM-4.6": ("", "<tool_call>"),
    "MiniMax-M2": ("</think>\n\n", '<minimax:tool_call>\n<invoke name="'),
}
PLAIN = "<tool_call>"
# What llama.cpp holds to nothing but names, or what it would read as another type.
OTHERS = {
    "google-gemma-4-31B-it": ("", "<|tool_call>call:"),
    "LFM2.5-8B-A1B": ("", "<|tool_call_start|>["),
    "openbmb-MiniCPM5-1B": ("</think>\n\n", '<function name="'),
    "Kimi-K3": ("<|close|>think<|sep|><|open|>response<|sep|>", PLAIN),
}


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=2048, n_threads=1) as engine:
        yield engine


def rendered(engine: Engine, template: str, parameters: dict[str, Any], **more: Any) -> ChatPrompt:
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters, **more}}
    chat = engine.model.chat((FOLDER / f"{template}.jinja").read_text(encoding="utf-8"))
    return chat.render([{"role": "user", "content": "?"}], tools=[tool], parallel_tool_calls=False)


def called(engine: Engine, prompt: ChatPrompt, begun: str) -> dict[str, Any]:
    """The arguments of the call that a random model goes on with."""
    assert prompt.grammar_lazy
    tokens = engine.model.tokenize(begun)
    answer = engine.stream(prompt, SamplingParams(seed=1), so_far=tokens, max_tokens=600).result()
    parser = MessageParser(prompt)
    parser.feed(begun + answer.text)
    parser.finish()
    (call,) = parser.message["tool_calls"]
    arguments: dict[str, Any] = json.loads(call["function"]["arguments"])
    return arguments


@pytest.mark.parametrize(("template", "begun"), {**BEGUN, **OTHERS}.items())
def test_arguments_that_have_to_be_there(engine: Engine, template: str, begun: tuple[str, str]) -> None:
    """Each of them comes, with a value of its type, or out of its list, whatever may come besides."""
    kind = {"enum": ["a", "ab", "b c"]}
    properties = {"extra": {"type": "null"}, "n": DIGIT, "kind": kind, "maybe": {"type": ["boolean", "null"]}}
    parameters = {"type": "object", "properties": properties, "required": ["n", "kind", "maybe"]}
    jsonschema.validate(called(engine, rendered(engine, template, parameters), "".join(begun)), parameters)


@pytest.mark.parametrize("template", BEGUN)
def test_arguments_that_no_one_names(engine: Engine, template: str) -> None:
    """A tool may take more than it names: what it names is asked for all the same, in the model's own format."""
    parameters = {**NEEDED, "additionalProperties": True}
    arguments = called(engine, rendered(engine, template, parameters), "".join(BEGUN[template]))
    jsonschema.validate(arguments, {**parameters, "additionalProperties": False})


@pytest.mark.parametrize("template", BEGUN)
@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "additionalProperties": DIGIT, "required": ["some"]},
        {"type": "object", "anyOf": [NEEDED, {**NEEDED, "properties": {"n": {"const": 10}}}]},
        {**NEEDED, "patternProperties": {"^x$": DIGIT}},
    ],
    ids=["a map", "one of two", "a pattern"],
)
def test_arguments_that_tags_cannot_hold(engine: Engine, template: str, parameters: dict[str, Any]) -> None:
    """Such a tool is called with JSON."""
    arguments = called(engine, rendered(engine, template, parameters), BEGUN[template][0] + PLAIN)
    jsonschema.validate(arguments, parameters)


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize("begun", ['{"name": "look"', 'Well: {"type": "function",\n"name" :\t"look"'])
def test_calls_without_a_tag(engine: Engine, begun: str, is_strict: bool) -> None:
    """Llama 3.x writes nothing but JSON: a call is one once it has the name of a tool."""
    prompt = rendered(engine, "meta-llama-Llama-3.1-8B-Instruct", NEEDED, strict=is_strict)
    jsonschema.validate(called(engine, prompt, begun), NEEDED)


def test_json_that_is_no_call(engine: Engine) -> None:
    """Other JSON is content, as is a name of nothing."""
    prompt = rendered(engine, "meta-llama-Llama-3.1-8B-Instruct", NEEDED)
    begun = '{"name": "looks"'
    tokens = engine.model.tokenize(begun)
    answer = engine.stream(prompt, SamplingParams(seed=1), so_far=tokens, max_tokens=len(tokens) + 8).result()
    parser = MessageParser(prompt)
    parser.feed(begun + answer.text)
    parser.finish()
    assert parser.message == {"role": "assistant", "content": begun + answer.text}


def test_a_strict_call_whose_begin_goes_unseen(engine: Engine) -> None:
    """Functionary's calls begin with the name, as any text might: strict ones are asked for with tags."""
    prompt = rendered(engine, "meetkai-functionary-medium-v3.2", NEEDED, strict=True)
    jsonschema.validate(called(engine, prompt, "all\n" + PLAIN), NEEDED)
