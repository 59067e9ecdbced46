"""Frames survive being cut anywhere, and nonsense is refused."""

from __future__ import annotations

import contextlib
import itertools
from array import array

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.engines import framing, wire
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.sampling import Sampling

texts = st.text(max_size=50)
ids = st.integers(0, 2**31)
words = st.lists(texts, max_size=3).map(tuple)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=9).map(lambda many: array("i", many).tobytes())
frames = st.one_of(
    st.builds(wire.Loading, st.floats(0, 1)),
    st.builds(wire.Ready, ids, texts, texts, st.dictionaries(texts, ids, max_size=3), words),
    st.builds(wire.Accepted, ids, ids, tokens, words),
    st.builds(wire.Token, ids, texts, st.lists(ids, max_size=3).map(tuple)),
    st.builds(wire.Done, ids, texts, ids, ids, texts, st.none() | st.floats(0, 1e6)),
    st.builds(wire.Embedded, ids, st.lists(st.binary(max_size=16), max_size=3).map(tuple), ids, st.booleans()),
    st.builds(wire.Counted, ids, ids),
    st.builds(wire.Failed, ids, texts, texts, st.dictionaries(texts, st.one_of(ids, texts, st.none()), max_size=3)),
    st.just(wire.Beat()),
)
samplings = st.builds(Sampling, temperature=st.none() | st.floats(0, 2), seed=st.none() | st.integers(-(2**63), 9))
questions = st.one_of(
    st.builds(wire.Load, st.builds(EngineSpec, texts, ids, is_vocab_only=st.booleans(), mtime_ns=ids)),
    st.builds(
        wire.Generate,
        ids,
        st.lists(st.dictionaries(texts, texts, max_size=2), max_size=3),
        samplings,
        st.none() | ids,
        words,
        st.none() | st.builds(wire.SoFar, tokens, tokens, words),
    ),
    st.builds(wire.Count, ids, st.lists(st.dictionaries(texts, texts, max_size=2), max_size=3)),
    st.builds(
        wire.Embed, ids, words, st.lists(tokens, max_size=3).map(tuple), st.none() | st.just("mean"), st.none() | ids
    ),
    st.builds(wire.Cancel, ids),
    st.just(wire.Stop()),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 2**31), max_size=12))
def test_what_an_engine_sends_arrives(sent: list[wire.FromEngine], places: list[int]) -> None:
    """However the stream is cut into pieces."""
    decoder = wire.frames_from_engine()
    data = b"".join(map(framing.encode, sent))
    assert [frame for piece in cut(data, places) for frame in decoder.feed(piece)] == sent


@given(st.lists(questions, max_size=8), st.lists(st.integers(0, 2**31), max_size=12))
def test_what_the_server_sends_arrives(sent: list[wire.ToEngine], places: list[int]) -> None:
    """However the stream is cut into pieces."""
    decoder = wire.frames_to_engine()
    data = b"".join(map(framing.encode, sent))
    assert [frame for piece in cut(data, places) for frame in decoder.feed(piece)] == sent


@given(st.binary(max_size=200))
def test_nonsense_is_refused_or_incomplete(data: bytes) -> None:
    """Any bytes give frames, nothing yet, or a WireError."""
    with contextlib.suppress(framing.WireError):
        wire.frames_from_engine(max_bytes=1000).feed(data)


def test_a_frame_that_is_too_large_is_refused_by_its_prefix() -> None:
    """Before its bytes are collected."""
    with pytest.raises(framing.WireError, match="too large"):
        wire.frames_from_engine(max_bytes=1000).feed((1001).to_bytes(4, "big"))


def test_precedence_of_sampling_values() -> None:
    """A value that was given wins over one further down, also when it is 0."""
    merged = Sampling(temperature=0.0).over(Sampling(temperature=0.7, top_k=3))
    assert merged == Sampling(temperature=0.0, top_k=3)


def test_frames_of_an_older_side_are_understood() -> None:
    """Fields are only appended, with defaults: what lacks them is read all the same."""
    decoder = wire.frames_from_engine()
    body = msgspec.msgpack.encode(["Done", 1, "stop", 7, 2])
    assert decoder.feed(len(body).to_bytes(4, "big") + body) == [wire.Done(1, "stop", 7, 2, "", None)]


def test_a_frame_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side would refuse it."""
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100)
    with pytest.raises(framing.WireError, match="too large"):
        framing.encode(wire.Failed(1, "code", "x" * 100))
