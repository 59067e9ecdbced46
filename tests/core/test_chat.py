"""Chat templates: rendering and parsing are llama.cpp's; what is tested is that everything crosses the boundary."""

from __future__ import annotations

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
    JsonSchemaError,
    MessageParser,
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


def template(model: Model, name: str) -> ChatTemplate:
    """A template of the pinned source."""
    folder = members_folder("models/templates/*") / "models" / "templates"
    return model.chat((folder / f"{name}.jinja").read_text(encoding="utf-8"))


def test_tools_are_told_of_where_the_template_cannot(model: Model) -> None:
    """The system message describes them and how to call one; a call begun is bound by a grammar, other text is free."""
    prompt = model.chat().render([{"role": "developer", "content": "Be brief."}, USER], tools=[TOOL])
    assert prompt.prompt.startswith("<|im_start|>system\nBe brief.\n\nYou can call functions.")
    assert "Looks at a star." in prompt.prompt
    assert prompt.grammar_lazy
    assert [trigger["value"] for trigger in prompt.grammar_triggers] == ["<tool_call>"]


@pytest.mark.parametrize("name", ["google-gemma-2-2b-it", "microsoft-Phi-3.5-mini-instruct"])
def test_calls_of_the_past_are_text_where_the_template_has_none(model: Model, name: str) -> None:
    """Calls and results are rendered in turns that alternate, also when no tools are offered any more."""
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"star": "Vega"}'}}
    past = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "bright"},
        {"role": "user", "content": "And?"},
    ]
    text = template(model, name).render(past).prompt
    assert '{"name": "look", "arguments": {"star": "Vega"}}' in text
    assert "<tool_response>\nbright\n</tool_response>\n\nAnd?" in text


@pytest.mark.parametrize("name", ["google-gemma-2-2b-it", "Qwen3.5-4B", "mistralai-Mistral-Nemo-Instruct-2407"])
def test_several_system_messages(model: Model, name: str) -> None:
    """A persona's, a client's and a later one reach the model, also where the template takes only one, or none."""
    messages = [
        {"role": "system", "content": "PERSONA"},
        {"role": "developer", "content": [{"type": "text", "text": "CLIENT"}]},
        USER,
        {"role": "assistant", "content": "Yes."},
        {"role": "system", "content": "LATER"},
        {"role": "user", "content": "Go on."},
    ]
    text = template(model, name).render(messages).prompt
    assert all(word in text for word in ("PERSONA", "CLIENT", "LATER", "Go on."))


def test_what_a_template_refuses(model: Model) -> None:
    """Its own words are the error's."""
    with pytest.raises(ChatTemplateError) as caught:
        model.chat("{{ raise_exception('Only users may speak') }}").render([USER], tools=[TOOL])
    assert str(caught.value).startswith("Only users may speak")


def test_plain_answers(model: Model, hermes: ChatTemplate) -> None:
    """An answer is plain only where nothing but content can come."""
    assert model.chat().render([USER]).is_plain
    assert not model.chat().render([USER], tools=[TOOL]).is_plain
    assert not model.chat().render([USER], json_schema={"type": "object"}).is_plain
    assert not hermes.render([USER]).is_plain
    assert not template(model, "meetkai-functionary-medium-v3.2").render([USER]).is_plain


@pytest.mark.parametrize("name", ["Qwen-Qwen3-0.6B", "Qwen3.5-4B", "deepseek-ai-DeepSeek-V3.1"])
def test_reasoning_can_stay_in_the_content(model: Model, name: str) -> None:
    """With "none", it is content, and calls after it are calls all the same, as the grammar demands."""
    chat = template(model, name)
    prompt = chat.render([USER], tools=[TOOL], tool_choice="required", reasoning_format="none")
    assert prompt.grammar == chat.render([USER], tools=[TOOL], tool_choice="required").grammar
    call = {
        "deepseek-ai-DeepSeek-V3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>"
        '{"star": "S"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    }.get(name, '<tool_call>\n{"name": "look", "arguments": {"star": "S"}}\n</tool_call>')
    parser = MessageParser(prompt)
    parser.feed(f"{'' if '<think>' in prompt.generation_prompt else '<think>'}hm</think>{call}")
    parser.finish()
    assert "hm" in parser.message["content"]
    assert "reasoning_content" not in parser.message
    assert parser.message["tool_calls"][0]["function"]["arguments"] == '{"star": "S"}'


@pytest.mark.parametrize(
    "arguments",
    [
        {"tools": [TOOL], "grammar": 'root ::= "a"'},
        {"tools": [TOOL], "tool_name": "fly"},
        {"tool_name": "look"},
        {"tools": [TOOL, TOOL]},
        {"tools": [{"type": "function", "function": {}}]},
        {"tools": [{"type": "retrieval"}]},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": []}}]},
        {"continue_final_message": True},
        {"template_kwargs": {"enable_thinking": "yes"}},
    ],
)
def test_arguments_that_do_not_go_together(model: Model, arguments: dict[str, object]) -> None:
    """They are refused before anything is rendered."""
    with pytest.raises(InvalidArgumentError):
        model.chat().render([USER], **arguments)  # type: ignore[arg-type]


def test_a_grammar_begins_after_the_reasoning(hermes: ChatTemplate) -> None:
    """The caller's grammar is part of one that lets the template's reasoning pass; a literal is not renamed with it."""
    prompt = hermes.render([USER], grammar='root ::= "root ::= a" b # b\nb ::= [b]')
    assert prompt.grammar_type == "output_format"
    assert 'user-root ::= "root ::= a" user-b # b\nuser-b ::= [b]' in prompt.grammar
    assert "</think>" in prompt.grammar
    SamplingParams(grammar=prompt.grammar)


@pytest.mark.parametrize(
    "name", ["Qwen-Qwen3-0.6B", "openai-gpt-oss-120b", "google-gemma-4-31B-it", "deepseek-ai-DeepSeek-V3.1"]
)
def test_a_continued_answer_is_not_told_again(model: Model, name: str) -> None:
    """Only what is new is told."""
    begun = {"role": "assistant", "content": "Sirius <", "reasoning_content": "hm"}
    prompt = template(model, name).render([USER, begun], continue_final_message=True)
    assert prompt.prompt.endswith("Sirius <")
    parser = MessageParser(prompt)
    parser.feed(" is")
    parser.finish()
    assert parser.message == {"role": "assistant", "content": " is"}


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
    "arguments",
    [
        {"messages": 5},
        {"messages": {}},
        {"template_kwargs": 5},
        {"template_kwargs": [1]},
        {"template_kwargs": {"messages": []}},
        {"template_kwargs": {"add_generation_prompt": False}},
    ],
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


@pytest.mark.parametrize("tool_name", [None, "bad"])
def test_a_tool_that_cannot_be_enforced(model: Model, tool_name: str | None) -> None:
    """The error says which tool, by its place among all of them."""
    parameters = {"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}
    bad = {"type": "function", "function": {"name": "bad", "parameters": parameters, "strict": True}}
    with pytest.raises(JsonSchemaError) as caught:
        model.chat().render([USER], tools=[TOOL, bad], tool_name=tool_name)
    assert (caught.value.where, caught.value.path, caught.value.keyword) == ("tools[1]", "#/properties/a", "$ref")


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
