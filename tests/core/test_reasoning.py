"""The reasoning block: counted, bounded, and out of a tool call grammar's sight."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import SPECIAL_TOKENS, TinyModel

from build_support.source import members_folder
from hoshikage_core import ChatPrompt, Engine, InvalidArgumentError, Model, SamplingParams
from hoshikage_core.reasoning import ReasoningCounter

QWEN3 = "models/templates/Qwen-Qwen3-0.6B.jinja"
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
THINK, THOUGHT, CALL, CALLED = range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(TAGS))
FREE = SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=5, ignore_eos=True)
USER = {"role": "user", "content": "star"}
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}}},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model that knows Qwen 3's tags, with its template."""
    template = (members_folder(QWEN3) / QWEN3).read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("models") / "thinking.gguf"
    TinyModel(chat_template=template, more_specials=TAGS).write(path)
    with Model(path) as model, model.engine(n_ctx=1024) as engine:
        assert model.tokenize("".join(TAGS), parse_special=True) == [THINK, THOUGHT, CALL, CALLED]
        yield engine


def opened(engine: Engine) -> ChatPrompt:
    """A prompt that has opened the block, as those of many models do."""
    prompt = engine.model.chat().render([USER])
    assert prompt.thinking_start_tag == "<think>"
    return dataclasses.replace(
        prompt, prompt=prompt.prompt + "<think>\n", generation_prompt=prompt.generation_prompt + "<think>\n"
    )


@pytest.mark.parametrize("budget", [0, 1, 2, 9])
@pytest.mark.parametrize("sampling", [FREE, SamplingParams(temperature=0, ignore_eos=True)], ids=["free", "greedy"])
def test_the_budget_closes_the_block(engine: Engine, sampling: SamplingParams, budget: int) -> None:
    """A model that would reason on closes the block after so many tokens, and then is free again."""
    plain = engine.generate(opened(engine), sampling, max_tokens=20)
    assert THOUGHT not in plain.tokens
    assert plain.n_reasoning == plain.n_completion == 20
    answer = engine.generate(opened(engine), sampling, max_tokens=20, thinking_budget=budget)
    end = answer.tokens.index(THOUGHT)
    # A character that is cut by the budget's end may be finished first.
    assert budget <= end <= budget + 3
    assert answer.n_reasoning == end
    assert answer.tokens[:budget] == plain.tokens[:budget]
    assert answer.n_completion == 20
    assert "</think>" in answer.text  # a token that a parser must see


def test_the_budget_goes_on_with_the_answer(engine: Engine) -> None:
    """What another engine generated of the block counts."""
    shape = opened(engine)
    whole = engine.stream(shape, FREE, max_tokens=20, thinking_budget=8)
    events = list(whole)
    for cut_at in (1, 5, 8, 9, 15):
        so_far = [token for event in events[:cut_at] for token in event.tokens]
        rest = engine.stream(
            whole.prompt_tokens, FREE, max_tokens=20, so_far=so_far, shape=whole.shape, thinking_budget=8
        )
        tokens = so_far + list(rest.result().tokens)
        assert tokens.index(THOUGHT) == whole.n_reasoning == rest.n_reasoning


def test_a_block_that_the_model_opens(engine: Engine) -> None:
    """The budget counts from the tag on, whoever wrote it; before it and without it nothing is closed."""
    prompt = engine.model.chat().render([USER])
    start = [*engine.model.tokenize("a"), THINK]
    answer = engine.stream(prompt, FREE, max_tokens=20, so_far=start, thinking_budget=3)
    tokens = answer.result().tokens
    assert 3 <= tokens.index(THOUGHT) <= 6
    assert answer.n_reasoning == tokens.index(THOUGHT)
    free = engine.generate(prompt, FREE, max_tokens=20, thinking_budget=3)
    assert THOUGHT not in free.tokens
    assert free.n_reasoning == 0


def test_a_block_that_the_prompt_has_closed(engine: Engine) -> None:
    """With thinking switched off the prompt holds an empty block: nothing counts, and no budget strikes."""
    answer = engine.stream_chat([USER], FREE, max_tokens=12, thinking_budget=0, enable_thinking=False)
    result = answer.result()
    assert "</think>" in engine.model.detokenize(answer.prompt_tokens, special=True)
    assert THOUGHT not in result.tokens
    assert result.n_reasoning == 0


def test_a_budget_without_a_block(engine: Engine) -> None:
    """For a prompt that knows no reasoning it has no effect."""
    assert (
        engine.generate("star", FREE, max_tokens=8, thinking_budget=0).tokens
        == engine.generate("star", FREE, max_tokens=8).tokens
    )


@pytest.mark.parametrize("budget", [-1, 2**31, True, 1.5])
def test_budgets_that_cannot_be(engine: Engine, budget: object) -> None:
    """They are refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        engine.stream("a", thinking_budget=budget)  # type: ignore[arg-type]
    assert caught.value.field == "thinking_budget"


def test_a_call_that_is_only_thought_of_is_none(engine: Engine) -> None:
    """What begins a tool call starts its grammar after the reasoning block, not inside."""
    prompt = engine.model.chat().render([USER], tools=[TOOL])
    assert prompt.grammar_lazy
    (line_end,) = engine.model.tokenize("\n")  # the grammar begins at "<tool_call>\n"

    def is_bound(*before: int) -> bool:
        so_far = [*before, line_end]
        text = engine.stream(prompt, SamplingParams(seed=1), so_far=so_far, max_tokens=12).result().text
        return re.match(r"\s*\{", text) is not None

    assert is_bound(CALL)
    assert is_bound(THINK, THOUGHT, CALL)
    assert not is_bound(THINK, CALL)


def test_choices_reason_each_for_itself(engine: Engine) -> None:
    """Budget and count begin anew with every choice."""
    completions = engine.stream(opened(engine), FREE, max_tokens=10, n_choices=3, thinking_budget=4).results()
    for completion in completions:
        assert 4 <= completion.tokens.index(THOUGHT) <= 7
        assert completion.n_reasoning == completion.tokens.index(THOUGHT)


def count(pieces: list[bytes], opening: str = "") -> int:
    counter = ReasoningCounter("<t>", ["</t>", "<call>"], opening)
    for piece in pieces:
        counter.feed(piece)
    return counter.n_tokens


@pytest.mark.parametrize(
    ("pieces", "opening", "n"),
    [
        ([b"a", b"b"], "", 0),
        ([b"a", b"b"], "<t>", 2),
        ([b"a", b"b"], "<t></t>", 0),
        ([b"<t>", b"a", b"b", b"</t>", b"c"], "", 2),
        ([b"<", b"t", b">", b"a", b"b", b"<", b"/t", b">", b"c"], "", 2),
        ([b"x<t", b">a", b"b", b"c</", b"t>d", b"e"], "", 1),
        ([b"a", b"<call>", b"b"], "<t>", 1),
        ([b"a", b"</t>", b"b", b"<t>", b"c", b"d"], "<t>", 3),
        ([b"<t></t>", b"a"], "", 0),
        ([b"t>", b"a", b"</t>"], "<", 1),
        ([b"<", b"a", b"<", b"/", b"x"], "<t>", 5),
    ],
)
def test_counting(pieces: list[bytes], opening: str, n: int) -> None:
    """Tokens between the tags, however the tags are cut; those that hold a part of a tag do not count."""
    assert count(pieces, opening) == n


@given(st.lists(st.sampled_from([b"<t>", b"</t>", b"<call>", b"a", b"<", b"bcd"]), max_size=30), st.data())
def test_counting_single_bytes(pieces: list[bytes], data: st.DataObject) -> None:
    """Byte for byte, the count is the length of the text between the tags."""
    text = b"".join(pieces)
    n, is_open, at = 0, False, 0
    while at < len(text):
        tags = (b"</t>", b"<call>") if is_open else (b"<t>",)
        tag = next((tag for tag in tags if text.startswith(tag, at)), None)
        n += is_open and tag is None
        is_open ^= tag is not None
        at += len(tag or b"x")
    assert count([bytes([byte]) for byte in text]) == n
