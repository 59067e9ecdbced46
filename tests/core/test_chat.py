"""Chat templates: rendering and parsing are llama.cpp's; what is tested is that everything crosses the boundary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_gguf import TinyModel

from build_support.source import members_folder
from hoshikage_core import (
    ChatTemplate,
    ChatTemplateError,
    ClosedError,
    InvalidArgumentError,
    Model,
    SamplingParams,
)

USER = {"role": "user", "content": "星は？"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks at a star.",
        "parameters": {"type": "object", "properties": {"star": {"type": "string"}}, "required": ["star"]},
    },
}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Iterator[Model]:
    with Model(tiny_model_path) as model:
        yield model


@pytest.fixture(scope="module")
def hermes(model: Model) -> ChatTemplate:
    """A template with tools and a reasoning block, from the pinned source."""
    folder = members_folder("models/templates/Qwen-Qwen3-0.6B.jinja")
    return model.chat((folder / "models/templates/Qwen-Qwen3-0.6B.jinja").read_text(encoding="utf-8"))


def test_the_models_own_template(model: Model) -> None:
    """Messages become the prompt the file's template says, with the assistant's turn opened or not."""
    chat = model.chat()
    assert chat.is_explicit
    rendered = "<|im_start|>user\n星は？<|im_end|>\n"
    assert chat.render([USER]).prompt == rendered + "<|im_start|>assistant\n"
    assert chat.render([USER], add_generation_prompt=False).prompt == rendered


def test_a_model_without_a_template_gets_chatml(tmp_path: Path) -> None:
    """llama.cpp's default is used, and says that it is one."""
    with Model(TinyModel(chat_template=None).write(tmp_path / "plain.gguf")) as model:
        chat = model.chat()
        assert not chat.is_explicit
        assert "<|im_start|>user\n星は？<|im_end|>" in chat.render([USER]).prompt
        assert model.info.chat_template is None


def test_the_last_message_can_be_continued(model: Model) -> None:
    """A last assistant message stays open for the model to go on."""
    prompt = model.chat().render([USER, {"role": "assistant", "content": "Sirius"}], continue_final_message=True).prompt
    assert prompt.endswith("<|im_start|>assistant\nSirius")


def test_tools_reach_the_prompt_and_the_grammar(hermes: ChatTemplate) -> None:
    """A required tool shows in the prompt, and what comes back is bound by a grammar made from its schema."""
    prompt = hermes.render([USER], tools=[TOOL], tool_choice="required")
    assert "Looks at a star." in prompt.prompt
    assert (prompt.grammar_type, prompt.grammar_lazy) == ("tool_calls", False)
    assert "look" in prompt.grammar
    lazy = hermes.render([USER], tools=[TOOL])
    assert lazy.grammar_lazy
    assert lazy.grammar_triggers


def test_answers_are_taken_apart(hermes: ChatTemplate) -> None:
    """Reasoning, text and tool calls of an answer are told apart, whole and partly there."""
    prompt = hermes.render([USER], tools=[TOOL])
    text = 'thinking…</think>Look!<tool_call>\n{"name": "look", "arguments": {"star": "Sirius"}}\n</tool_call>'
    opened = text if prompt.generation_prompt.rstrip().endswith("<think>") else "<think>" + text
    message = hermes.parse(prompt, opened)
    assert message["reasoning_content"] == "thinking…"
    assert message["content"] == "Look!"
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "look"
    assert json.loads(call["function"]["arguments"]) == {"star": "Sirius"}
    partial = hermes.parse(prompt, opened[: opened.index("Sirius")], partial=True)
    assert partial["tool_calls"][0]["function"]["name"] == "look"


def test_a_schema_becomes_a_grammar(hermes: ChatTemplate) -> None:
    """The schema of an answer comes back as a grammar that a sampler takes."""
    prompt = hermes.render([USER], json_schema={"type": "object", "properties": {"a": {"type": "integer"}}})
    assert prompt.grammar_type == "output_format"
    SamplingParams(grammar=prompt.grammar)
    assert '\\"a\\"' in prompt.grammar


def test_template_variables(hermes: ChatTemplate) -> None:
    """Thinking can be switched off, and further variables reach the template."""
    off = hermes.render([USER], enable_thinking=False).prompt
    assert off != hermes.render([USER]).prompt
    assert hermes.render([USER], template_kwargs={"enable_thinking": False}).prompt == off


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{% if %}", "Unexpected token"), ("{{", "Unexpected EOF"), ("{{ raise_exception('no') }}", "no")],
)
def test_a_bad_template(model: Model, template: str, reason: str) -> None:
    """A template that does not parse, or refuses, gives a ChatTemplateError with its words."""
    with pytest.raises(ChatTemplateError, match=reason):
        model.chat(template).render([USER])


def test_a_grammar_goes_through(model: Model) -> None:
    """The caller's own grammar comes back for the sampler, and not together with a schema."""
    assert model.chat().render([USER], grammar='root ::= "a"').grammar == 'root ::= "a"'
    with pytest.raises(InvalidArgumentError):
        model.chat().render([USER], grammar='root ::= "a"', json_schema={"type": "object"})


@pytest.mark.parametrize(
    "arguments", [{"messages": 5}, {"messages": {}}, {"template_kwargs": 5}, {"template_kwargs": [1]}]
)
def test_arguments_of_the_wrong_type(model: Model, arguments: dict[str, object]) -> None:
    """They are named."""
    with pytest.raises(InvalidArgumentError) as caught:
        model.chat().render(**{"messages": [USER], **arguments})  # type: ignore[arg-type]
    assert caught.value.field in arguments


@pytest.mark.parametrize("message", [{"role": "user"}, {"content": "a"}, {"role": "user", "content": 5}])
def test_bad_messages(model: Model, message: dict[str, object]) -> None:
    """Messages that are none are refused."""
    with pytest.raises(ChatTemplateError):
        model.chat().render([message])


@pytest.mark.parametrize("value", ["\ud800", float("nan"), object()])
def test_messages_that_are_no_json(model: Model, value: object) -> None:
    """What cannot be written as JSON is named."""
    with pytest.raises(InvalidArgumentError) as caught:
        model.chat().render([{"role": "user", "content": value}])
    assert caught.value.field == "messages"


def test_a_closed_template_raises(model: Model) -> None:
    """Rendering after close() is a ClosedError."""
    chat = model.chat()
    chat.close()
    with pytest.raises(ClosedError):
        chat.render([USER])


def test_a_template_outlives_its_model(tiny_model_path: Path) -> None:
    """The order in which things are closed does not matter."""
    model = Model(tiny_model_path)
    chat = model.chat()
    model.close()
    assert chat.render([USER]).prompt


def test_chatting_with_a_real_model(smollm2_path: Path) -> None:
    """SmolLM2 greets back and ends its turn by itself."""
    with Model(smollm2_path) as model, model.engine(n_ctx=1024) as engine:
        answer = engine.chat([{"role": "user", "content": "Hi!"}], SamplingParams(temperature=0), max_tokens=64)
    assert answer.text.startswith("Hello")
    assert answer.finish_reason == "stop"
