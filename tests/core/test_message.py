"""Taking answers apart: however the text was cut, the message is the same, and nothing that was told is taken back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from answering import assembled
from hypothesis import given, settings
from hypothesis import strategies as st

from build_support.source import members_folder
from hoshikage_core import ChatPrompt, InvalidArgumentError, MessageDelta, MessageParser, Model

USER = {"role": "user", "content": "星は？"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"star": {"type": "string"}, "start": {"type": "string"}, "n": {"type": "integer"}},
                "required": ["star"],
            },
        },
    }
    for name in ("look", "look_up")
]
FOLDER = members_folder("models/templates/*") / "models" / "templates"

HERMES_CALL = '<tool_call>\n{"name": "look_up", "arguments": {"star": "Si\\"ri\\u00e9us", "n": 12}}\n</tool_call>'
CODER_CALL = (
    "<tool_call>\n<function=look>\n<parameter=star>\nSirius & <b>\n</parameter>\n<parameter=n>\n12\n</parameter>\n"
    "<parameter=start>\nnow\n</parameter>\n</function>\n</tool_call>"
)
WRITTEN = {
    "Qwen-Qwen3-0.6B": ["<think>\nhm\n</think>\n\nLook: 星 <", HERMES_CALL, "\n" + HERMES_CALL],
    "Qwen3-Coder": ["Look: ", CODER_CALL, "\n" + CODER_CALL],
    "Qwen3.5-4B": ["hm\n</think>\n\nLook: ", CODER_CALL],
    "meta-llama-Llama-3.1-8B-Instruct": ['{"name": "look_up", "parameters": {"star": "Sirius"}}'],
    "mistralai-Mistral-Nemo-Instruct-2407": [
        '[TOOL_CALLS][{"name": "look", "arguments": {"star": "S"}, "id": "abc123456"}]'
    ],
    "openai-gpt-oss-120b": [
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant",
        '<|channel|>commentary to=functions.look <|constrain|>json<|message|>{"star": "Sirius"}',
    ],
    "google-gemma-4-31B-it": [
        '<|channel>thought\nhm<channel|>Look: <|tool_call>call:look{star:<|"|>Sirius<|"|>,n:3}<tool_call|>'
    ],
    "deepseek-ai-DeepSeek-V3.1": [
        "hm</think>Look: ",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>look<｜tool▁sep｜>{"star": "S"}',
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ],
    "MiniMax-M2": [
        "hm\n</think>\n\nLook\n",
        '<minimax:tool_call>\n<invoke name="look">\n<parameter name="star">Si</parameter>',
        "\n</invoke>\n</minimax:tool_call>",
    ],
    "ChatML": ["Look: 星 <", HERMES_CALL],
}


@pytest.fixture(scope="module")
def prompts(tiny_model_path: Path) -> Iterator[dict[str, ChatPrompt]]:
    with Model(tiny_model_path) as model:

        def render(name: str) -> ChatPrompt:
            text = None if name == "ChatML" else (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
            return model.chat(text).render([USER], tools=TOOLS, parallel_tool_calls=True)

        yield {name: render(name) for name in WRITTEN}


def parse(prompt: ChatPrompt, pieces: Sequence[str]) -> tuple[dict[str, Any], list[MessageDelta]]:
    """The message and the deltas of a text in pieces, each of which is read at once."""
    ticks = itertools.count()
    parser = MessageParser(prompt, clock=lambda: float(next(ticks)))
    deltas = [*map(parser.feed, pieces), parser.finish()]
    assert parser.finish() == MessageDelta()
    return parser.message, deltas


@pytest.mark.parametrize("name", WRITTEN)
def test_letter_by_letter(prompts: dict[str, ChatPrompt], name: str) -> None:
    """Calls are found in the model's format, and deltas of single letters are the same message as the whole text."""
    text = "".join(WRITTEN[name])
    whole, _ = parse(prompts[name], [text])
    message, deltas = parse(prompts[name], list(text))
    assert message == whole == assembled(deltas)
    assert len(message["tool_calls"]) == text.count('"name": ') or "name" not in text or message["tool_calls"]
    for call in message["tool_calls"]:
        assert call["function"]["name"] in ("look", "look_up")
        assert json.loads(call["function"]["arguments"])["star"]
    assert (message.get("reasoning_content") or "hm").strip() == "hm"
    assert sum(len(delta.tool_calls) for delta in deltas) > len(message["tool_calls"])


def cut(data: st.DataObject, text: str) -> list[str]:
    points = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[begin:end] for begin, end in itertools.pairwise([0, *points, len(text)])]


PARTS = [part for parts in WRITTEN.values() for part in parts]
MARKS = sorted({mark for part in PARTS for mark in part.replace(">", "> ").split()})


@settings(max_examples=250)
@given(
    name=st.sampled_from(sorted(WRITTEN)),
    parts=st.lists(st.sampled_from(MARKS) | st.text(max_size=5) | st.sampled_from(PARTS), max_size=6),
    data=st.data(),
)
def test_garbage_is_content(prompts: dict[str, ChatPrompt], name: str, parts: list[str], data: st.DataObject) -> None:
    """Whatever a model writes, the deltas make the message, which does not depend on how the text was cut."""
    text = "".join(parts)
    whole, _ = parse(prompts[name], [text])
    message, deltas = parse(prompts[name], cut(data, text))
    assert message == whole == assembled(deltas)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_unfinished_answer(prompts: dict[str, ChatPrompt], name: str) -> None:
    """Wherever an answer breaks off, what is told is the beginning of what the whole would be."""
    text = "".join(WRITTEN[name])
    whole, _ = parse(prompts[name], [text])
    for end in range(len(text)):
        message, _ = parse(prompts[name], [text[:end]])
        calls = message.get("tool_calls", [])
        for call, complete in zip(calls, whole["tool_calls"], strict=False):
            assert call["id"] == complete["id"]
            assert call["function"]["name"] == complete["function"]["name"]


def test_a_garbled_call_is_content(prompts: dict[str, ChatPrompt]) -> None:
    """A call of no tool that there is, or of no JSON, is text that the user sees."""
    for garbled in ('<tool_call>\n{"name": "fly"}', "<tool_call>\nlook(star)\n</tool_call>", '<tool_call>\n{"na'):
        message, _ = parse(prompts["Qwen-Qwen3-0.6B"], [f"<think>hm</think>Yes. {garbled}"])
        assert message["content"].startswith("Yes. ")
        assert "tool_calls" not in message
        assert message["reasoning_content"] == "hm"
    message, _ = parse(prompts["Qwen-Qwen3-0.6B"], ['Yes. <tool_call>\n{"name": "fly"}'])
    assert message["content"] == 'Yes. <tool_call>\n{"name": "fly"}'


def test_a_prompt_crosses_processes(prompts: dict[str, ChatPrompt]) -> None:
    """What was serialised takes the same text apart into the same message; other choices have other ids."""
    for name, prompt in prompts.items():
        text = "".join(WRITTEN[name])
        again = ChatPrompt.from_json(prompt.to_json())
        assert again == prompt
        assert parse(again, [text])[0] == parse(prompt, [text])[0]
    other = MessageParser(prompts["ChatML"], choice=1)
    other.feed(HERMES_CALL)
    other.finish()
    first, _ = parse(prompts["ChatML"], [HERMES_CALL])
    assert other.message["tool_calls"][0]["id"] != first["tool_calls"][0]["id"]
    for data in (b"", b"[]", b"{", b'{"prompt": "a", "no such field": 1}'):
        with pytest.raises(InvalidArgumentError):
            ChatPrompt.from_json(data)


def test_reading_again_is_limited(prompts: dict[str, ChatPrompt]) -> None:
    """Within 20 ms nothing is read twice; plain answers are passed on at once."""
    now = 0.0
    parser = MessageParser(prompts["ChatML"], clock=lambda: now)
    assert parser.feed("a").content == "a"
    assert parser.feed("b") == MessageDelta()
    now = 0.021
    assert parser.feed("c").content == "bc"
    plain = MessageParser(ChatPrompt(prompt=""), clock=lambda: now)
    assert [plain.feed(letter).content for letter in "abc"] == ["a", "b", "c"]


def test_ids(prompts: dict[str, ChatPrompt]) -> None:
    """Ids look like OpenAI's, but for templates that take no others than theirs."""
    message, _ = parse(prompts["ChatML"], [HERMES_CALL])
    assert message["tool_calls"][0]["id"].startswith("call_")
    assert len(message["tool_calls"][0]["id"]) == 29
    message, _ = parse(prompts["mistralai-Mistral-Nemo-Instruct-2407"], WRITTEN["mistralai-Mistral-Nemo-Instruct-2407"])
    assert len(message["tool_calls"][0]["id"]) == 9


@pytest.mark.parametrize("n_levels", [100, 5000, 100_000])
@pytest.mark.parametrize("name", ["ChatML", "Qwen-Qwen3-0.6B", "meta-llama-Llama-3.1-8B-Instruct"])
def test_deep_nesting(prompts: dict[str, ChatPrompt], name: str, n_levels: int) -> None:
    """llama.cpp's parser recurses: what is nested too deeply for the stack is content, and nothing is lost."""
    is_llama = name.startswith("meta")
    begin = '{"name": "look", "parameters": {"n": ' if is_llama else '<tool_call>\n{"name": "look", "arguments": {"n": '
    text = begin + "[" * n_levels
    message, _ = parse(prompts[name], [text[:40], text[40:]])
    told = (message["content"] or "") + "".join(call["function"]["arguments"] for call in message.get("tool_calls", ()))
    assert told.count("[") == n_levels


@given(
    values=st.recursive(
        st.text("[]{}\\'\"a"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("[\"'a"), inner, max_size=3),
    ),
    before=st.text("[{\"'\\ a"),
)
@settings(max_examples=100, deadline=None)
def test_ordinary_nesting_is_read(prompts: dict[str, ChatPrompt], values: Any, before: str) -> None:
    """Brackets in strings, and quotes and brackets before a call, do not make it look deep."""
    arguments = {"star": json.dumps(values), "n": 1, "start": "[" * 300}
    call = json.dumps({"name": "look", "arguments": arguments})
    message, _ = parse(prompts["Qwen-Qwen3-0.6B"], [before, f"<tool_call>\n{call}\n</tool_call>"])
    (found,) = message["tool_calls"]
    assert json.loads(found["function"]["arguments"]) == arguments
