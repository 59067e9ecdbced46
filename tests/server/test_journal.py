"""What is kept of an answer so that another engine can go on with it, and the way of its frames."""

from __future__ import annotations

from array import array
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.journal import Journal
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.wire import Accepted, Done, Failed, Logprob, SoFar, Token, TokenProb
from hoshikage_server.errors import EngineError

PROMPT = array("i", [5, 2**31 - 1, 0]).tobytes()
ACCEPTED = Accepted(1, 3, PROMPT, ("</s>", "END"))
pieces = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple), max_size=10)


def question(**values: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}], "sampling": Sampling(), "max_tokens": 9, **values}


def test_before_it_is_accepted_the_question_is_asked_again() -> None:
    """As it was."""
    journal = Journal(question(sampling=Sampling(seed=7, temperature=0.5)))
    assert journal.question() == question(sampling=Sampling(seed=7, temperature=0.5))
    assert (journal.is_accepted, journal.n_prompt, journal.n_completion) == (False, None, 0)


def test_the_seed_is_the_same_for_every_engine() -> None:
    """Each token's randomness comes from it; it was nobody's choice before."""
    journals = [Journal(question()) for _ in range(2)]
    seeds = [journal.question()["sampling"].seed for journal in journals]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds[0] != seeds[1]
    journals[0].accept(ACCEPTED)
    assert journals[0].question()["sampling"].seed == seeds[0]
    assert Journal(question(sampling=Sampling(seed=0))).question()["sampling"].seed == 0


@given(pieces)
def test_afterwards_its_continuation(tokens: list[tuple[int, ...]]) -> None:
    """The prompt's ids, all ids of the answer in their order, and the stop strings; the messages are not kept."""
    journal = Journal(question())
    journal.accept(ACCEPTED)
    for piece in tokens:
        journal.add(Token(1, "x", piece))
    ids = array("i", [token for piece in tokens for token in piece])
    asked = journal.question()
    assert asked["so_far"] == SoFar(PROMPT, ids.tobytes(), ("</s>", "END"))
    assert (asked["messages"], asked["max_tokens"]) == ([], 9)
    assert (journal.is_accepted, journal.n_prompt, journal.n_completion) == (True, 3, len(ids))


def test_what_was_told_of_the_prompt() -> None:
    """Another engine tells the rest of its tokens only."""
    journal = Journal(question(n_prompt_logprobs=1))
    journal.accept(ACCEPTED)
    for n in (1, 2):
        journal.add(Token(1, "", echo=(Logprob(TokenProb(5, b"x", -1.0)),) * n))
    assert journal.question()["so_far"] == SoFar(PROMPT, b"", ("</s>", "END"), n_echoed=3)
    assert journal.n_completion == 0


# ---- the channel, which fills it


def make(max_unsent: int = 100) -> tuple[Channel, Journal, list[str]]:
    journal, overflows = Journal(question()), list[str]()
    return Channel("req_1", journal, max_unsent, lambda: overflows.append("overflow")), journal, overflows


def test_two_engines_make_one_answer() -> None:
    """The reader sees one Accepted, and each piece once; the journal has what it was told."""
    channel, journal, _ = make()
    first: list[Accepted | Token | Done] = [ACCEPTED, Token(1, "a", (1,)), Token(1, "b", (2, 3))]
    second: list[Accepted | Token | Done] = [Accepted(8, 3, b"", ()), Token(8, "c", (4,)), Done(8, "stop", 3, 4)]
    for frame in first:
        channel.put(frame)
    channel.break_off("signal SIGKILL")
    assert channel.wait_for_engine() == "signal SIGKILL"
    assert journal.question()["so_far"] == SoFar(PROMPT, array("i", [1, 2, 3]).tobytes(), ACCEPTED.stop)
    for frame in second:
        channel.put(frame)
    assert channel.wait_for_engine() is None
    assert [channel.get(0) for _ in range(5)] == [*first, *second[1:]]
    assert channel.done == second[-1]
    assert journal.n_completion == 4


def test_nothing_follows_the_end() -> None:
    """Neither frames nor a second end; a death after it is none of the answer's business."""
    channel, journal, _ = make()
    for frame in (ACCEPTED, Done(1, "stop", 3, 0), Token(1, "late", (1,)), Failed(1, "internal", "late")):
        channel.put(frame)
    channel.fail(EngineError("internal"))
    channel.break_off("signal SIGKILL")
    assert channel.wait_for_engine() is None
    assert [channel.get(0), channel.get(0), channel.get(0)] == [ACCEPTED, Done(1, "stop", 3, 0), None]
    assert journal.n_completion == 0


@pytest.mark.parametrize("way", ["get", "get_nowait"])
def test_a_failure_is_raised_after_what_came_before(way: str) -> None:
    """With the engine's code, words and figures."""
    channel, _, _ = make()
    channel.put(ACCEPTED)
    channel.put(Failed(1, "context_full", "its words", {"n_ctx": 5}))
    assert channel.get(0) == ACCEPTED
    with pytest.raises(EngineError) as caught:
        channel.get(0) if way == "get" else channel.get_nowait()
    assert (caught.value.code, caught.value.values) == ("context_full", {"reason": "its words", "n_ctx": 5})
    assert channel.get_nowait() is None


def test_a_slow_reader_is_given_up() -> None:
    """No more than max_unsent pieces are kept; then it ends, and somebody is told."""
    channel, journal, overflows = make(max_unsent=10)
    channel.put(ACCEPTED)
    for i in range(20):
        channel.put(Token(1, "x", (i,)))
    assert channel.is_ended
    assert overflows == ["overflow"]
    assert journal.n_completion == 10
    for _ in range(10):
        assert channel.get(0) is not None
    with pytest.raises(EngineError) as caught:
        channel.get(0)
    assert caught.value.code == "reader_too_slow"


def test_waiting_for_the_engine_is_woken_by_its_end_only() -> None:
    """Frames alone do not wake it."""
    channel, _, _ = make()
    waiting = gevent.spawn(channel.wait_for_engine)
    channel.put(ACCEPTED)
    channel.put(Token(1, "x", (1,)))
    gevent.idle()
    assert not waiting.ready()
    channel.break_off("exit status 1")
    assert waiting.get(timeout=60) == "exit status 1"
