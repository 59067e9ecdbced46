"""Any names of tools and of their arguments: llama.cpp makes rules of them, and some of its own are called the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from answering import finished_answer
from tiny_gguf import CHATML

from build_support.source import members_folder
from hoshikage_core import Engine, Model, SamplingParams

FOLDER = members_folder("models/templates/*") / "models" / "templates"
NAMES = [
    ["a-b", "a_b", "a__b"],
    ["call", "calls"],
    ["get_table", "get_table_schema"],
    ["look", "look-arg-n"],
]
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
# One a format: our own, JSON between tags, JSON with ids, arguments between tags.
TEMPLATES = {"ChatML": CHATML} | {
    name: (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    for name in ("Qwen-Qwen3-0.6B", "moonshotai-Kimi-K2", "Qwen3-Coder")
}


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=1024, n_threads=1) as engine:
        yield engine


def tool(name: str, *arguments: str) -> dict[str, Any]:
    """A tool all of whose arguments have to be there."""
    parameters = {"type": "object", "properties": dict.fromkeys(arguments, DIGIT), "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def check_call(engine: Engine, template: str, tools: list[dict[str, Any]], name: str) -> None:
    """A call of this tool, with arguments of its own."""
    chat = engine.model.chat(TEMPLATES[template])
    prompt = chat.render([{"role": "user", "content": "?"}], tools=tools, tool_name=name, parallel_tool_calls=False)
    (call,) = finished_answer(engine, prompt, seed=1).message["tool_calls"]
    assert call["function"]["name"] == name
    (schema,) = (known["function"]["parameters"] for known in tools if known["function"]["name"] == name)
    jsonschema.validate(json.loads(call["function"]["arguments"]), schema)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("names", "at"), [(names, at) for names in NAMES for at in range(len(names))])
def test_names_that_are_taken_or_alike(engine: Engine, template: str, names: list[str], at: int) -> None:
    """Each is called by its name, with its own arguments."""
    check_call(engine, template, [tool(name, letter) for name, letter in zip(names, "abc", strict=False)], names[at])


@pytest.mark.parametrize("template", TEMPLATES)
def test_arguments_that_are_alike(engine: Engine, template: str) -> None:
    """No letter of these names is one of a rule's."""
    check_call(engine, template, [tool("look", "名前", "年齢")], "look")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "tools", [*([tool(name) for name in names] for names in NAMES), [tool("look", "名前", "年齢")]]
)
def test_a_call_that_may_be_made(engine: Engine, template: str, tools: list[dict[str, Any]]) -> None:
    """The model is told of all, and what binds it once it begins a call is a grammar that there is."""
    prompt = engine.model.chat(TEMPLATES[template]).render([{"role": "user", "content": "?"}], tools=tools)
    for function in [known["function"] for known in tools]:
        assert all(text in prompt.prompt for text in [function["name"], *function["parameters"]["properties"]])
    assert prompt.grammar_lazy
    engine.model.require_sampler(SamplingParams(), prompt)
