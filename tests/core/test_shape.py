"""A rendered chat as a prompt: its stop strings, its grammar and its special tokens shape the answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from set_tool import SCHEMA, TOOL, USER
from tiny_gguf import CHATML, IM_START, TinyModel

from hoshikage_core import (
    ChatPrompt,
    ContextLengthError,
    Engine,
    InvalidArgumentError,
    MessageParser,
    Model,
    SamplingParams,
)

SEEDED = SamplingParams(seed=3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    template = CHATML + "{# laguna_glm_thinking #}"  # to llama.cpp, a template with a stop string
    path = TinyModel(chat_template=template).write(tmp_path_factory.mktemp("models") / "shape.gguf")
    with Model(path) as model, model.engine(n_ctx=512, n_batch=1) as engine:
        yield engine


def rendered(engine: Engine, **form: Any) -> ChatPrompt:
    return engine.model.chat().render([USER], **form)


def test_a_rendered_chat_is_a_prompt(engine: Engine) -> None:
    """It gives the answer that the messages give, and that its tokens give with it as their shape."""
    prompt = rendered(engine)
    assert prompt.stops
    by_messages = engine.chat([USER], SEEDED, max_tokens=20, stop=["?!?"])
    by_prompt = engine.stream(prompt, SEEDED, max_tokens=20, stop=["?!?"])
    assert by_prompt.result().tokens == by_messages.tokens
    assert by_prompt.shape is prompt
    assert by_prompt.stops == ("?!?", *prompt.stops)
    tokens = engine.model.tokenize(prompt.prompt, parse_special=True)
    by_tokens = engine.stream(tokens, SEEDED, max_tokens=20, stop=by_prompt.stops, shape=prompt)
    assert by_tokens.result().tokens == by_prompt.result().tokens
    assert by_tokens.stops == by_prompt.stops


def test_the_schema_of_a_chat_binds(engine: Engine) -> None:
    """What the messages' answer must match, it matches; also when taken up in the middle, or one of several."""
    generation = engine.stream_chat([USER], SEEDED, max_tokens=200, json_schema=SCHEMA, n_choices=3)
    events = list(generation)
    assert generation.shape is not None
    assert generation.shape.grammar
    for choice in range(3):
        text = "".join(event.text for event in events if event.choice == choice)
        # llama.cpp lets the model put a fence around the JSON, and its parser takes it away.
        parser = MessageParser(generation.shape, choice=choice)
        parser.feed(text)
        parser.finish()
        value = json.loads(parser.message["content"])
        assert (set(value), type(value["on"]), value["level"] in (1, 2, 3)) == ({"on", "level"}, bool, True)
    first = [event for event in events if event.choice == 0]
    rest = engine.stream(
        generation.prompt_tokens,
        SEEDED,
        max_tokens=200,
        so_far=[token for event in first[:7] for token in event.tokens],
        shape=generation.shape,
    )
    assert list(rest) == first[7:]


@pytest.mark.parametrize("name", ["grammar", "json_schema", "ignore_eos", "min_tokens"])
def test_one_grammar_at_a_time(engine: Engine, name: str) -> None:
    """Beside a chat that has a grammar, another one, or what would keep it from ending, is refused by name."""
    value = {"grammar": 'root ::= "a"', "json_schema": SCHEMA, "ignore_eos": True, "min_tokens": 1}[name]
    for _ in range(2):
        with pytest.raises(InvalidArgumentError) as caught:
            engine.stream_chat([USER], SamplingParams(**{name: value}), json_schema=SCHEMA)  # type: ignore[arg-type]
        assert caught.value.field == name
    assert engine.chat([USER], SamplingParams(**{name: value}), max_tokens=3).n_completion  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", [{"grammar": 'root ::= "ab"'}, {"json_schema": {"const": 1}}])
def test_a_grammar_of_the_sampling_begins_with_the_answer(engine: Engine, sampling: dict[str, Any]) -> None:
    """It says nothing about the part of the prompt that opens the answer."""
    answer = engine.chat([USER], SamplingParams(**sampling))
    assert (answer.text, answer.finish_reason) == ("ab" if "grammar" in sampling else "1", "stop")


def test_special_tokens_that_a_parser_must_see(engine: Engine) -> None:
    """The text of a special token is left away, unless the rendered chat wants it kept."""
    forced = SamplingParams(temperature=0, logit_bias={IM_START: 1000.0})
    prompt = rendered(engine)
    assert engine.generate(prompt, forced, max_tokens=2).text == ""
    keeping = dataclasses.replace(prompt, preserved_tokens=("<|im_start|>", "more than one token"))
    answer = engine.generate(keeping, forced, max_tokens=2, n_top_logprobs=0)
    assert answer.text == "<|im_start|>" * 2
    assert [entry.token for entry in answer.logprobs] == [IM_START] * 2


def test_prompts_that_cannot_be(engine: Engine) -> None:
    """What is no rendered chat, is empty or too long is refused with a typed error."""
    prompt = rendered(engine)
    with pytest.raises(InvalidArgumentError, match="shape"):
        engine.stream(prompt, shape=prompt)
    with pytest.raises(InvalidArgumentError, match="shape"):
        engine.stream([5], shape="chat")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="tokens"):
        engine.stream(dataclasses.replace(prompt, prompt=""))
    with pytest.raises(ContextLengthError):
        engine.stream(dataclasses.replace(prompt, prompt="x " * 600))
    assert engine.generate(prompt, max_tokens=1).n_completion == 1


def test_how_far_the_prompt_is_computed(tiny_model_path: Path) -> None:
    """Who drives the engine sees it grow by a batch a step, up to the whole."""
    with Model(tiny_model_path) as model, model.engine(n_ctx=256, n_batch=32) as engine:
        with engine.stream([5] * 100, SamplingParams(ignore_eos=True)) as generation:
            seen = [generation.n_prompt_computed]
            while not generation.n_completion:
                engine.step()
                seen.append(generation.n_prompt_computed)
            assert seen == [0, 32, 64, 96, 100]
            engine.step()
            assert generation.n_prompt_computed == 100
        assert generation.n_prompt_computed == 100


@pytest.mark.parametrize(
    "form",
    [
        {"json_schema": SCHEMA},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_name": "set"},
    ],
)
def test_nothing_follows_what_was_asked_for(engine: Engine, form: dict[str, Any]) -> None:
    """A model that likes white space best cannot go on with it behind the answer, where nobody would see it."""
    likes = {engine.model.tokenize(" ")[0]: 50.0}
    sampling = SamplingParams(temperature=0, logit_bias=likes)
    with engine.model.engine(n_ctx=2048, n_threads=1) as roomy:
        answer = roomy.stream(rendered(engine, **form), sampling, max_tokens=300).result()
    assert answer.finish_reason == "stop"
    assert answer.text[-1] in "}>"
