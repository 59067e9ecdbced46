"""The text of a custom tool out of the arguments that a model wrote."""

from __future__ import annotations

import gevent
import pytest

from hoshikage_server.api.free_text import FreeText, TextGrammar, as_function, text_of
from hoshikage_server.errors import RequestError


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
    ],
)
def test_text_goes_on_behind_half_a_surrogate_pair(written: str, text: str) -> None:
    """Arriving character by character, too."""
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
