"""The text of a custom tool out of the arguments that a model wrote."""

from __future__ import annotations

import json

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.api.free_text import FreeText, TextGrammar, as_arguments, as_function, text_of
from hoshikage_server.errors import RequestError


@given(st.text(), st.booleans(), st.data())
def test_free_text_comes_back_from_any_cuts(text: str, is_ascii: bool, data: st.DataObject) -> None:
    """However it is escaped and cut; what comes early is a beginning of it."""
    arguments = json.dumps({"input": text}, ensure_ascii=is_ascii) if is_ascii else as_arguments(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arguments)), max_size=5)))
    free_text = FreeText()
    told = ""
    for begin, end in zip([0, *cuts], [*cuts, len(arguments)], strict=True):
        told += free_text.feed(arguments[begin:end])
        assert text.startswith(told)
    assert told + free_text.finish() == free_text.text == text


@pytest.mark.parametrize("arguments", ["", "{}", "no JSON", '{"other": "x"}'])
def test_arguments_that_hold_no_free_text(arguments: str) -> None:
    """They are the text themselves."""
    free_text = FreeText()
    assert free_text.feed(arguments) == ""
    assert free_text.finish() == free_text.text == arguments


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"a\"\u0041\n", 'a"A\n'),
        (r"\ud83d\ude00!", "\N{GRINNING FACE}!"),
        (r"a\ud83d", "a\ufffd"),
        (r"a\ud83db", "a\ufffdb"),
        (r"\ud83d\u0041\ude00b", "\ufffdA\ufffdb"),
        (r"\ud83d\ud83d\ude00", "\ufffd\N{GRINNING FACE}"),
        (r"\ud83d\nb", "\ufffd\nb"),
        (r"\ude00a", "\ufffda"),
        (r"\ud83d\n\ud83d\ud83d\ude00.", "\ufffd\n\ufffd\N{GRINNING FACE}."),
        (r"\ud83d\u0041", "\ufffdA"),
    ],
)
def test_text_goes_on_behind_half_a_surrogate_pair(written: str, text: str) -> None:
    """A model may write it, for it is JSON; no text can hold it. Arriving character by character, too."""
    arguments = f'{{"input": "{written}"}}'
    whole, bit_by_bit = FreeText(), FreeText()
    assert whole.feed(arguments) + whole.finish() == text
    assert "".join(map(bit_by_bit.feed, arguments)) + bit_by_bit.finish() == text


def test_a_call_that_was_cut_before_its_text_has_none() -> None:
    """Its opening is no text; anything else is told as it is."""
    assert [text_of(cut) for cut in ("", "{", '{ "inp', '{"input" :\n"', '{"input": 1}')] == [
        "",
        "",
        "",
        "",
        '{"input": 1}',
    ]


@pytest.mark.parametrize("definition", ["a)|(?:b", "(a", r"[(]\((", "(" + "[" * 20_000])
def test_a_regex_cannot_leave_its_brackets(definition: str) -> None:
    """It would be bound at one end only."""
    with pytest.raises(RequestError) as raised:
        as_function("tool", None, TextGrammar("regex", definition), "tools[0]")
    assert raised.value.code == "invalid_tool_grammar"


def test_others_get_their_turn_between_grammars() -> None:
    """A request may have hundreds of tools."""
    turns: list[int] = []
    other = gevent.spawn(turns.append, 1)
    as_function("tool", None, TextGrammar("lark", 'start: "a"'), "tools[0]")
    assert turns == [1]
    other.join()
