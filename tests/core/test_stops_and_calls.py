"""Stop strings beside tools: they count in content, and cut no call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from set_tool import SCHEMA, TOOL, USER
from tiny_gguf import CHATML, TinyModel

from build_support.source import members_folder
from hoshikage_core import ChatPrompt, Engine, MessageParser, Model, SamplingParams

FOLDER = members_folder("models/templates/*") / "models" / "templates"
SEEDED = SamplingParams(seed=3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = TinyModel(chat_template=CHATML).write(tmp_path_factory.mktemp("models") / "stops.gguf")
    with Model(path) as model, model.engine(n_ctx=2048, n_threads=1) as engine:
        yield engine


def calls_in(prompt: ChatPrompt, text: str) -> list[dict[str, Any]]:
    parser = MessageParser(prompt)
    parser.feed(text)
    parser.finish()
    calls: list[dict[str, Any]] = [call["function"] for call in parser.message.get("tool_calls", ())]
    return calls


@pytest.mark.parametrize("form", [{"tool_choice": "required"}, {"tool_name": "set"}])
def test_no_stop_string_cuts_a_call_that_has_to_be_made(engine: Engine, form: dict[str, Any]) -> None:
    """There is no content in which it could count."""
    prompt = engine.model.chat().render([USER], tools=[TOOL], parallel_tool_calls=False, **form)
    answer = engine.generate(prompt, SEEDED, max_tokens=400, stop=["o", '"', "<"])
    (call,) = calls_in(prompt, answer.text)
    assert (call["name"], set(json.loads(call["arguments"]))) == ("set", {"on", "level"})


def test_no_stop_string_cuts_a_call_of_a_pattern(engine: Engine) -> None:
    """Nor where the format knows patterns that begin a call."""
    chat = engine.model.chat((FOLDER / "meetkai-functionary-medium-v3.2.jinja").read_text(encoding="utf-8"))
    prompt = chat.render([USER], tools=[TOOL], tool_name="set", parallel_tool_calls=False)
    answer = engine.generate(prompt, SEEDED, max_tokens=400, stop=["o", '"', "<"])
    (call,) = calls_in(prompt, answer.text)
    assert (call["name"], set(json.loads(call["arguments"]))) == ("set", {"on", "level"})


@pytest.mark.parametrize("form", [{}, {"json_schema": SCHEMA}])
def test_no_stop_string_cuts_a_call_that_is_begun(engine: Engine, form: dict[str, Any]) -> None:
    """Before it, in content, it counts; its tag is not taken for content while it may still become one."""
    prompt = engine.model.chat().render([USER], tools=[TOOL], parallel_tool_calls=False, **form)
    begun = engine.model.tokenize("<tool_call>", parse_special=True)
    assert len(begun) > 1
    answer = engine.stream(prompt, SEEDED, so_far=begun, max_tokens=400, stop=["o", '"', ">"]).result()
    (call,) = calls_in(prompt, "<tool_call>" + answer.text)
    assert (call["name"], set(json.loads(call["arguments"]))) == ("set", {"on", "level"})
    if not form:
        text = engine.model.tokenize("so <tool")
        answer = engine.stream(prompt, SEEDED, so_far=text, max_tokens=400, stop=["o"]).result()
        assert (answer.n_completion, answer.finish_reason) == (len(engine.model.tokenize("so")), "stop")
