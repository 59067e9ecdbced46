"""The stream of a server, in pieces as the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.cli.sse import EventTooLongError, SseDecoder

LINES = st.sampled_from(
    [b"data: {}", b"data:x", b"data: \xe6\x98\x9f", b": ping", b"event: a", b"id: 1", b"data", b"nonsense", b""]
)


def reference(stream: bytes) -> list[bytes]:
    """The events of a whole stream, read line by line."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        elif line == b"data" or line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    return events


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12), st.data())
def test_cuts_do_not_matter(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Whatever the pieces, the events are those of the whole."""
    stream = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    decoder = SseDecoder()
    got = [event for start, end in pairwise(cuts) for event in decoder.feed(stream[start:end])]
    assert got == reference(stream)


def test_a_mark_of_the_encoding_is_passed_over() -> None:
    """As the standard has it."""
    assert SseDecoder().feed(b"\xef\xbb\xbfdata: x\n\n") == [b"x"]


def test_what_does_not_end_is_no_event() -> None:
    """Memory has a bound, whether lines end or not."""
    for piece in (b"data: " + b"x" * 50, b"data: " + b"x" * 60 + b"\n"):
        decoder = SseDecoder(limit=100)
        decoder.feed(piece)
        with pytest.raises(EventTooLongError):
            decoder.feed(piece)
