"""Tools and schemas hold with every template that comes with llama.cpp: a random model is bound to them.

Its words have no sense; that a call is made, with a name and arguments that are allowed, is the grammar's doing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from answering import Answer, answer, assembled, finished_answer
from tiny_gguf import CHATML

from build_support.source import members_folder
from hoshikage_core import ChatTemplate, Engine, MessageParser, Model, SamplingParams

FOLDER = members_folder("models/templates/*") / "models" / "templates"
TEMPLATES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja"))} | {
    "ChatML": CHATML
}

ARGUMENTS = {
    "type": "object",
    "properties": {
        "star": {"type": "string", "enum": ["a", "b"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["star", "n"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": ARGUMENTS}}
    for name in ("look", "look_up")
]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
BEGUN_BY_PATTERNS = ("meetkai-functionary-medium-v3.2", "meta-llama-Llama-3", "muse-glimmer", "openai-gpt-oss")
MESSAGES = [{"role": "system", "content": "You see stars."}, {"role": "user", "content": "Which star?"}]


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=1024, n_threads=1) as engine:
        yield engine


@pytest.fixture(scope="module", params=TEMPLATES)
def chat(engine: Engine, request: pytest.FixtureRequest) -> Iterator[ChatTemplate]:
    chat = engine.model.chat(TEMPLATES[request.param])
    yield chat
    chat.close()


def check_calls(found: Answer, names: set[str]) -> list[dict[str, Any]]:
    """The calls of an answer that has to call one of the tools, which are as they must be."""
    assert assembled(found.deltas) == found.message
    assert found.message["content"] is None, found
    calls: list[dict[str, Any]] = found.message["tool_calls"]
    for call in calls:
        assert call["function"]["name"] in names
        jsonschema.validate(json.loads(call["function"]["arguments"]), ARGUMENTS)
    assert len({call["id"] for call in calls}) == len(calls)
    return calls


def test_a_required_call_and_its_result(engine: Engine, chat: ChatTemplate) -> None:
    """A call is made, of a declared tool, with valid arguments, alone; it and its result can be rendered again."""
    prompt = chat.render(MESSAGES, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    assert "Does look_up." in prompt.prompt
    assert "You see stars." in prompt.prompt
    found = finished_answer(engine, prompt, seed=1)
    (call,) = check_calls(found, {"look", "look_up"})
    result = {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": "SIRIUS"}
    again = chat.render([*MESSAGES, found.message, result], tools=TOOLS).prompt
    assert again.index(call["function"]["name"]) < again.index("SIRIUS")
    assert again.index("Which star?") < again.rindex(call["function"]["name"])


def test_a_named_call(engine: Engine, chat: ChatTemplate) -> None:
    """Only the named tool is called, though the model is told of all."""
    prompt = chat.render(MESSAGES, tools=TOOLS, tool_name="look")
    assert "Does look_up." in prompt.prompt
    (call,) = check_calls(finished_answer(engine, prompt, seed=2), {"look"})
    assert call["function"]["name"] == "look"


def test_content_of_a_schema(engine: Engine, chat: ChatTemplate) -> None:
    """The content is JSON of the schema and nothing around it."""
    found = finished_answer(engine, chat.render(MESSAGES, json_schema=SCHEMA), seed=3)
    assert assembled(found.deltas) == found.message
    jsonschema.validate(json.loads(found.message["content"]), SCHEMA)
    assert "tool_calls" not in found.message


def test_a_schema_and_tools(engine: Engine, chat: ChatTemplate) -> None:
    """With both, the content is of the schema or a tool is called."""
    prompt = chat.render(MESSAGES, tools=TOOLS, json_schema=SCHEMA, parallel_tool_calls=False)
    found = finished_answer(engine, prompt, seed=4)
    if "tool_calls" in found.message:
        check_calls(found, {"look", "look_up"})
    else:
        jsonschema.validate(json.loads(found.message["content"]), SCHEMA)


def test_no_tools_no_calls(engine: Engine, chat: ChatTemplate) -> None:
    """With "none", the model is not told of the tools, and what it writes is no call."""
    prompt = chat.render(MESSAGES, tools=TOOLS, tool_choice="none")
    assert "look_up" not in prompt.prompt
    assert prompt.grammar == ""
    assert "tool_calls" not in answer(engine, prompt, n_max=12).message


def test_a_free_answer(engine: Engine, chat: ChatTemplate) -> None:
    """With "auto", the model may write what it likes, and all of it is told."""
    prompt = chat.render(MESSAGES, tools=TOOLS)
    assert prompt.grammar_lazy or not prompt.grammar
    found = answer(engine, prompt, n_max=12)
    assert assembled(found.deltas) == found.message


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.startswith(BEGUN_BY_PATTERNS)])
def test_a_call_that_is_begun(engine: Engine, name: str) -> None:
    """With "auto", it holds to the schema from the text on that begins a call, also where no tool is strict."""
    prompt = engine.model.chat(TEMPLATES[name]).render(MESSAGES, tools=TOOLS, parallel_tool_calls=False)
    begun = prompt.call_starts[0]
    reasoning = prompt.generation_prompt.rpartition(prompt.thinking_start_tag or "\x00")
    if reasoning[1] and not any(tag in reasoning[2] for tag in prompt.thinking_end_tags):
        begun = f"{prompt.thinking_end_tags[0]}{begun}"
    tokens = engine.model.tokenize(begun)
    sampling = SamplingParams(seed=5, temperature=1.5, top_k=0)
    # The prompt's end is enough: what it says is nothing to a random model.
    short = dataclasses.replace(prompt, prompt="?")
    text = begun + engine.stream(short, sampling, so_far=tokens, max_tokens=400).result().text
    parser = MessageParser(prompt)
    told = [parser.feed(text), parser.finish()]
    assert parser.message.get("tool_calls"), text
    for call in parser.message["tool_calls"]:
        assert call["function"]["name"] in {"look", "look_up"}
        jsonschema.validate(json.loads(call["function"]["arguments"]), ARGUMENTS)
    assert assembled(told) == parser.message


def test_an_answer_is_continued(chat: ChatTemplate) -> None:
    """The prompt ends with the given text, and what follows is told without it."""
    begun = {"role": "assistant", "content": "Sirius is"}
    prompt = chat.render([*MESSAGES, begun], continue_final_message=True)
    assert prompt.prompt.endswith("Sirius is")
    assert prompt.prompt.count("Sirius is") == 1


@pytest.mark.parametrize("begun", ["Sirius", "Sirius ", "Sirius:\n\n"])
def test_what_was_begun_is_not_told_again(chat: ChatTemplate, begun: str) -> None:
    """Nor is anything lost, with and without tools."""
    for tools in (None, TOOLS):
        messages = [*MESSAGES, {"role": "assistant", "content": begun}]
        parser = MessageParser(chat.render(messages, tools=tools, continue_final_message=True))
        deltas = [*map(parser.feed, " it is."), parser.finish()]
        assert "".join(delta.content for delta in deltas) == " it is."


def test_a_blank_beginning_is_continued(chat: ChatTemplate) -> None:
    """All of the answer is told, though some formats drop what is blank before it."""
    begun = {"role": "assistant", "content": " \n"}
    prompt = chat.render([*MESSAGES, begun], json_schema=SCHEMA, continue_final_message=True)
    parser = MessageParser(prompt)
    deltas = [*map(parser.feed, '{"ok": true}'), parser.finish()]
    assert "".join(delta.content for delta in deltas) == '{"ok": true}'


@pytest.mark.parametrize("how", [{}, {"json_schema": SCHEMA}, {"tools": TOOLS, "tool_choice": "required"}], ids=str)
def test_the_assistant_has_spoken_last(engine: Engine, chat: ChatTemplate, how: dict[str, Any]) -> None:
    """Another turn of its own begins like any other, and its grammar can be had."""
    spoken = {"role": "assistant", "content": "Sirius is."}
    usual, prompt = chat.render(MESSAGES, **how), chat.render([*MESSAGES, spoken], **how)
    assert "Sirius is." in prompt.prompt
    assert prompt.prompt.endswith(usual.generation_prompt)
    assert prompt.generation_prompt == usual.generation_prompt
    engine.model.require_sampler(SamplingParams(), prompt)


def test_the_assistant_has_spoken_first(chat: ChatTemplate) -> None:
    """A conversation may begin with its greeting, also where the template wants the user's turn first."""
    prompt = chat.render([{"role": "assistant", "content": "Sirius here."}, MESSAGES[-1]]).prompt
    assert 0 <= prompt.find("Sirius here.") < prompt.find("Which star?")


def history(*, content: str | None) -> list[dict[str, Any]]:
    """Two calls, the result of the second one first; as OpenAI's clients write it, results have no names."""
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": f'{{"star": "CALL{i}"}}'}}
        for i, name in ((1, "look"), (2, "look_up"))
    ]
    results = [{"role": "tool", "tool_call_id": f"call_{i}", "content": f"STAR{i}"} for i in (2, 1)]
    return [*MESSAGES, {"role": "assistant", "content": content, "tool_calls": calls}, *results]


def test_results_in_another_order(chat: ChatTemplate) -> None:
    """Most templates show no ids: the results come as their calls do, and none is left out."""
    prompt = chat.render(history(content=None), tools=TOOLS).prompt
    assert prompt.index("CALL1") < prompt.index("STAR1") < prompt.index("STAR2")
    assert prompt.index("CALL1") < prompt.index("CALL2") < prompt.index("STAR2")


def test_one_call_a_message(engine: Engine) -> None:
    """gpt-oss shows one call of a message: several are shown one after the other, each with its result."""
    chat = engine.model.chat(TEMPLATES["openai-gpt-oss-120b"])
    prompt = chat.render(history(content="I look."), tools=TOOLS).prompt
    shown = prompt[prompt.index("I look.") :]
    names = re.findall(r"functions\.(\w+)", shown)
    assert names == ["look", "look", "look_up", "look_up"]
    assert [*re.findall("CALL.|STAR.", shown)] == ["CALL1", "STAR1", "CALL2", "STAR2"]


@pytest.mark.parametrize("name", ["meta-llama-Llama-3.1-8B-Instruct", "Mistral-Small-3.2-24B-Instruct-2506", "ChatML"])
def test_calls_of_another_model(engine: Engine, name: str) -> None:
    """A conversation goes on with a template that takes one call at once, or other ids: it is shown what there was."""
    prompt = engine.model.chat(TEMPLATES[name]).render(history(content=None), tools=TOOLS).prompt
    assert all(text in prompt for text in ("You see stars.", "CALL1", "CALL2", "STAR1", "STAR2"))
