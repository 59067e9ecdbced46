"""Waiting for an answer: pings while nothing else can be sent, errors before and after them, and limits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from questions import PING, Question, Reply, ask
from server_process import ServerProcess, wait_for

StartServer = Callable[..., ServerProcess]


@pytest.fixture
def pinging(start_server: StartServer) -> ServerProcess:
    """A server that pings after a tenth of a second."""
    return start_server(ping_interval=0.1, queue_timeout=0.5, load_timeout=3, max_queue=1)


def phase_of(server: ServerProcess) -> str | None:
    """Of the last request that came."""
    requests = server.status["requests"]
    return str(requests[-1]["phase"]) if requests else None


def check_pings(reply: Reply, *, n_at_least: int) -> None:
    """They come before the first event, not in it, and not more often than silence calls for them."""
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert list(reply.lines[:n_at_least]) == [PING] * n_at_least
    assert reply.is_whole


def test_pings_in_the_queue(start_server: StartServer) -> None:
    """From a ping interval after the request on, until its turn has come."""
    server = start_server(ping_interval=0.1)
    with Question(server, "count 10 60", stream=True) as first:
        first.read_until('"1 "')
        reply = ask(server, "echo second", stream=True)
    check_pings(reply, n_at_least=2)
    assert reply.text == "second"
    assert reply.lines.count(PING) <= 8


def test_pings_while_it_loads(pinging: ServerProcess) -> None:
    """A model that takes a second."""
    reply = ask(pinging, "echo loaded", "slow", stream=True)
    check_pings(reply, n_at_least=5)
    assert reply.text == "loaded"


def test_pings_in_prefill_and_between_tokens(pinging: ServerProcess) -> None:
    """Whenever there is silence."""
    reply = ask(pinging, "wait 500 x", stream=True)
    check_pings(reply, n_at_least=2)
    reply = ask(pinging, "count 2 350", stream=True)
    lines = list(reply.lines)
    first, second = (next(i for i, line in enumerate(lines) if f'"{text} "' in line) for text in "12")
    assert 2 <= lines[first:second].count(PING) <= 4


def test_no_pings_where_there_is_no_silence(start_server: StartServer) -> None:
    """Nor in a plain answer."""
    server = start_server(ping_interval=0.2)
    ask(server, "echo x")
    assert PING not in ask(server, "count 30 10", stream=True).lines
    reply = ask(server, "wait 500 x")
    assert PING not in reply.lines
    assert reply.text == "x"


@pytest.mark.parametrize("stream", [True, False])
def test_refused_before_the_first_ping(start_server: StartServer, stream: bool) -> None:
    """An HTTP status, with Retry-After, as long as nothing was sent; a plain request gets one at any time."""
    server = start_server(ping_interval=5, queue_timeout=0.3, load_timeout=0.3, max_queue=1)
    reply = ask(server, "echo x", "never", stream=stream)
    assert (reply.status, reply.error) == (503, "load_timeout")
    with Question(server, "hang") as blocker:
        wait_for(lambda: phase_of(server) == "prefill", 5, "it runs")
        waiter = Question(server, "echo x", stream=stream)
        wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "one waits")
        refused = ask(server, "echo x", stream=stream)
        assert (refused.status, refused.error) == (429, "queue_full")
        assert refused.retry_after_s >= 1
        late = waiter.reply()
        assert (late.status, late.error) == (503, "queue_timeout")
        assert late.retry_after_s >= 1
        blocker.close()


def test_refused_after_the_first_ping(start_server: StartServer) -> None:
    """An error event with the same error, and no [DONE]."""
    server = start_server(ping_interval=0.1, queue_timeout=0.4, load_timeout=0.4)
    reply = ask(server, "echo x", "never", stream=True)
    assert (reply.status, reply.error) == (200, "load_timeout")
    assert PING in reply.lines
    assert not reply.is_whole
    with Question(server, "hang") as blocker:
        wait_for(lambda: phase_of(server) == "prefill", 5, "it runs")
        late = ask(server, "echo x", stream=True)
        blocker.close()
    assert (late.status, late.error) == (200, "queue_timeout")
    assert PING in late.lines
    assert not late.is_whole
    assert ask(server, "echo again", stream=True).text == "again"


def test_plain_requests_wait_as_long(pinging: ServerProcess) -> None:
    """Pings are for streams; a plain request's status is its first byte."""
    reply = ask(pinging, "echo x", "slow")
    assert (reply.status, reply.text) == (200, "x")
    with Question(pinging, "hang"):
        wait_for(lambda: phase_of(pinging) == "prefill", 5, "it runs")
        late = ask(pinging, "echo x")
        assert (late.status, late.error) == (503, "queue_timeout")


def test_waiting_times_are_told(start_server: StartServer) -> None:
    """Of each in the queue."""
    server = start_server()
    with Question(server, "hang"), Question(server, "echo x"):
        wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "one waits")
        began = time.monotonic()
        [waited_s] = wait_for(lambda: (w := server.status["queue"]["waits_s"])[0] >= 0.2 and w, 5, "it is told")
        assert waited_s < time.monotonic() - began + 1
        phases = [request["phase"] for request in server.status["requests"]]
        assert phases == ["prefill", "queued"]
