"""Whole characters and stop strings, whatever the cutting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_core.text import StopScanner, Utf8Decoder

# Few letters, so that stop strings occur, overlap and nearly occur all the time.
crowded_text = st.text(alphabet="aab🌟", max_size=40)
crowded_stops = st.lists(st.text(alphabet="ab🌟", min_size=1, max_size=5), max_size=4)
any_text = st.text(max_size=60)
any_stops = st.lists(st.text(min_size=1, max_size=6), max_size=4)

# Bytes that are almost UTF-8: characters (surrogates too), their fragments and bytes that never occur in it.
nearly_utf8 = st.lists(
    st.one_of(
        st.text(st.characters(), max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.characters().map(lambda character: character.encode("utf-8", "surrogatepass")[:-1]),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


@st.composite
def cuts_of(draw: st.DrawFn, length: int) -> list[int]:
    """Borders that cut something of this length into pieces, empty ones included."""
    inner = draw(st.lists(st.integers(0, length), max_size=8))
    return [0, *sorted(inner), length]


def decode_in_pieces(pieces: Iterable[bytes]) -> str:
    decoder = Utf8Decoder()
    return "".join([decoder.decode(piece) for piece in pieces]) + decoder.flush()


def scan_in_pieces(stops: Sequence[str], pieces: Iterable[str]) -> tuple[str, str | None]:
    scanner = StopScanner(stops)
    text = "".join([scanner.feed(piece) for piece in pieces]) + scanner.flush()
    return text, scanner.stopped


def scan_by_definition(stops: Sequence[str], text: str) -> tuple[str, str | None]:
    """The oracle: look at ever longer beginnings of the text until one of them ends with a stop string."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(data=nearly_utf8, draw=st.data())
def test_decoding_does_not_depend_on_the_cutting(data: bytes, draw: st.DataObject) -> None:
    """Any cutting of any bytes decodes to what decoding the whole with replacement gives."""
    cuts = draw.draw(cuts_of(len(data)))
    assert decode_in_pieces(data[i:j] for i, j in pairwise(cuts)) == data.decode("utf-8", "replace")


@given(text=any_text)
def test_decoder_emits_each_character_with_its_last_byte(text: str) -> None:
    """A character is never emitted in part and never later than its last byte."""
    decoder = Utf8Decoder()
    for character in text:
        *first, last = character.encode()
        assert [decoder.decode(bytes([byte])) for byte in first] == [""] * len(first)
        assert decoder.decode(bytes([last])) == character
    assert decoder.flush() == ""


def test_decoder_flush_replaces_an_incomplete_character() -> None:
    """A text that ends inside a character ends with one U+FFFD, and the decoder starts afresh."""
    decoder = Utf8Decoder()
    assert decoder.decode("星".encode()[:2]) == ""
    assert decoder.flush() == "\ufffd"
    assert decoder.decode("影".encode()) == "影"


@given(text=crowded_text, stops=crowded_stops, draw=st.data())
def test_scanning_crowded_text_does_not_depend_on_the_cutting(text: str, stops: list[str], draw: st.DataObject) -> None:
    """Text full of stop strings and near misses ends as the definition says, however it is cut."""
    cuts = draw.draw(cuts_of(len(text)))
    assert scan_in_pieces(stops, [text[i:j] for i, j in pairwise(cuts)]) == scan_by_definition(stops, text)


@given(text=any_text, stops=any_stops, draw=st.data())
def test_scanning_any_text_does_not_depend_on_the_cutting(text: str, stops: list[str], draw: st.DataObject) -> None:
    """The same for any characters."""
    cuts = draw.draw(cuts_of(len(text)))
    assert scan_in_pieces(stops, [text[i:j] for i, j in pairwise(cuts)]) == scan_by_definition(stops, text)


@given(text=crowded_text, stops=crowded_stops)
def test_stop_strings_are_never_shown(text: str, stops: list[str]) -> None:
    """No stop string is in the text that comes out, nor in any beginning of it."""
    shown, _ = scan_in_pieces(stops, text)
    assert not any(stop in shown for stop in stops)


@given(text=crowded_text, stops=crowded_stops.filter(bool))
def test_only_a_possible_stop_is_held_back(text: str, stops: list[str]) -> None:
    """After every character, what is held back is the longest tail that begins a stop string: no more, no less."""
    scanner = StopScanner(stops)
    shown = ""
    for end, character in enumerate(text, start=1):
        shown += scanner.feed(character)
        if scanner.stopped is not None:
            return
        tails = [text[start:end] for start in range(end + 1)]
        assert shown + next(tail for tail in tails if any(stop.startswith(tail) for stop in stops)) == text[:end]


@pytest.mark.parametrize(
    ("stops", "text", "shown", "stopped"),
    [
        (["bc", "abcd"], "abcd", "a", "bc"),  # complete first, though it began later
        (["b", "ab"], "xab", "x", "ab"),  # complete at the same character: began first
        (["a", "ab"], "xab", "x", "a"),
        (["aab"], "aaab", "a", "aab"),  # the held tail shifts by one
        (["END"], "EN", "EN", None),  # flush returns a stop string that did not come
        ("END", "the END.", "the ", "END"),  # a bare string is one stop string
        ([], "anything", "anything", None),
    ],
)
def test_which_stop_string_wins(stops: Sequence[str], text: str, shown: str, stopped: str | None) -> None:
    """Cases worked out by hand from the rule in StopScanner's docstring, in one piece and character by character."""
    assert scan_in_pieces(stops, [text]) == (shown, stopped)
    assert scan_in_pieces(stops, text) == (shown, stopped)


@given(text=crowded_text, stops=crowded_stops, marks=crowded_stops, draw=st.data())
def test_no_stop_string_counts_in_a_mark_or_behind_it(
    text: str, stops: list[str], marks: list[str], draw: st.DataObject
) -> None:
    """It is as if the text ended at the first mark, however it is cut; but what follows is shown as it is."""
    end = min((at for mark in marks if (at := text.find(mark)) >= 0), default=len(text))
    shown, stopped = scan_by_definition(stops, text[:end])
    scanner = StopScanner(stops, marks)
    cuts = draw.draw(cuts_of(len(text)))
    got = "".join([scanner.feed(text[begin:end]) for begin, end in pairwise(cuts)]) + scanner.flush()
    assert (got, scanner.stopped) == ((text if stopped is None else shown), stopped)


def test_nothing_comes_after_a_stop() -> None:
    """Once stopped, a scanner swallows everything."""
    scanner = StopScanner(["."])
    assert scanner.feed("One. Two") == "One"
    assert scanner.feed(" Three") == ""
    assert scanner.flush() == ""
    assert scanner.stopped == "."


def test_an_empty_stop_string_is_refused() -> None:
    """An empty stop string would end every text before it began."""
    with pytest.raises(ValueError, match="empty"):
        StopScanner(["ok", ""])
