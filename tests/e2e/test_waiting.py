"""Waiting for an answer: pings while nothing else can be sent, errors before and after them, and limits."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest
from questions import PING, Question, Reply, ask
from server_process import ServerProcess, wait_for

StartServer = Callable[..., ServerProcess]

PING_S = 0.1


@pytest.fixture
def pinging(start_server: StartServer) -> ServerProcess:
    """A server that pings after a tenth of a second."""
    return start_server(ping_interval=PING_S)


def phase_of(server: ServerProcess) -> str | None:
    """Of the last request that came."""
    requests = server.status["requests"]
    return str(requests[-1]["phase"]) if requests else None


class Pinged:
    """A streamed question that hears pings. They are no part of an event, and not more than silence calls for."""

    def __init__(self, server: ServerProcess, text: str, model: str = "m") -> None:
        self._began = time.monotonic()
        self._question = Question(server, text, model, stream=True)

    def hear(self, n: int) -> None:
        """The next lines are so many pings."""
        assert list(itertools.islice(self._question.lines(), n)) == [PING] * n

    def read_until(self, mark: str) -> None:
        self._question.read_until(mark)

    def reply(self) -> Reply:
        reply = self._question.reply()
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.lines.count(PING) <= (time.monotonic() - self._began) / PING_S + 1
        assert reply.is_whole
        return reply


def test_pings_in_the_queue(pinging: ServerProcess) -> None:
    """From a ping interval after the request on, until its turn has come."""
    with Question(pinging, "hang") as first:
        wait_for(lambda: phase_of(pinging) == "prefill", 5, "it runs")
        second = Pinged(pinging, "echo second")
        second.hear(3)
        first.close()
        assert second.reply().text == "second"


def test_pings_while_it_loads(pinging: ServerProcess) -> None:
    """However long that takes."""
    question = Pinged(pinging, "echo loaded", "gated")
    question.hear(5)
    pinging.open_gate("gated")
    assert question.reply().text == "loaded"


def test_pings_in_prefill_and_between_tokens(pinging: ServerProcess) -> None:
    """Whenever there is silence."""
    question = Pinged(pinging, "shut prefill x")
    question.hear(3)
    pinging.open_gate("prefill")
    assert question.reply().text == "x"
    question = Pinged(pinging, "gate decode 1 x y")
    question.read_until('"x"')
    question.hear(3)
    pinging.open_gate("decode")
    assert question.reply().text == "x y"


def test_no_pings_where_there_is_no_silence(start_server: StartServer) -> None:
    """Though the answer takes longer than the silence may; nor in a plain answer."""
    server = start_server(ping_interval=2)
    ask(server, "echo x")
    began = time.monotonic()
    assert PING not in ask(server, "count 50 50", stream=True).lines
    assert time.monotonic() - began > 2
    server.change(ping_interval=0.1)
    reply = ask(server, "wait 500 x")
    assert PING not in reply.lines
    assert reply.text == "x"


@pytest.mark.parametrize("stream", [True, False])
def test_refused_before_the_first_ping(start_server: StartServer, stream: bool) -> None:
    """An HTTP status, with Retry-After, as long as nothing was sent; a plain request gets one at any time."""
    server = start_server(ping_interval=600, max_queue=1)
    with Question(server, "hang") as blocker:
        wait_for(lambda: phase_of(server) == "prefill", 5, "it runs")
        with Question(server, "echo x", stream=stream):
            wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "one waits")
            refused = ask(server, "echo x", stream=stream)
            assert (refused.status, refused.error) == (429, "queue_full")
            assert refused.retry_after_s >= 1
        wait_for(lambda: server.status["queue"]["waiting"] == 0, 5, "nobody waits")
        server.change(queue_timeout=0.3)
        late = ask(server, "echo x", stream=stream)
        assert (late.status, late.error) == (503, "queue_timeout")
        assert late.retry_after_s >= 1
        blocker.close()
    server.change(queue_timeout=60, load_timeout=0.3)
    reply = ask(server, "echo x", "never", stream=stream)
    assert (reply.status, reply.error) == (503, "load_timeout")


def test_refused_after_the_first_ping(start_server: StartServer) -> None:
    """An error event with the same error, and no [DONE]."""
    server = start_server(ping_interval=0.1)
    with Question(server, "hang") as blocker:
        wait_for(lambda: phase_of(server) == "prefill", 5, "it runs")
        server.change(queue_timeout=0.5)
        late = ask(server, "echo x", stream=True)
        blocker.close()
    assert (late.status, late.error) == (200, "queue_timeout")
    assert PING in late.lines
    assert not late.is_whole
    server.change(queue_timeout=60, load_timeout=0.5)
    reply = ask(server, "echo x", "never", stream=True)
    assert (reply.status, reply.error) == (200, "load_timeout")
    assert PING in reply.lines
    assert not reply.is_whole
    server.change(load_timeout=60)
    assert ask(server, "echo again", stream=True).text == "again"


def test_plain_requests_wait_as_long(pinging: ServerProcess) -> None:
    """Pings are for streams; a plain request's status is its first byte."""
    reply = ask(pinging, "echo x", "slow")
    assert (reply.status, reply.text) == (200, "x")
    with Question(pinging, "hang"):
        wait_for(lambda: phase_of(pinging) == "prefill", 5, "it runs")
        pinging.change(queue_timeout=0.5)
        late = ask(pinging, "echo x")
        assert (late.status, late.error) == (503, "queue_timeout")


def test_waiting_times_are_told(start_server: StartServer) -> None:
    """Of each in the queue."""
    server = start_server()
    with Question(server, "hang"):
        wait_for(lambda: phase_of(server) == "prefill", 5, "it runs")
        began = time.monotonic()
        with Question(server, "echo x"):
            wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "one waits")
            [waited_s] = wait_for(lambda: (w := server.status["queue"]["waits_s"])[0] >= 0.2 and w, 5, "it is told")
            assert waited_s < time.monotonic() - began
            phases = [request["phase"] for request in server.status["requests"]]
            assert phases == ["prefill", "queued"]
