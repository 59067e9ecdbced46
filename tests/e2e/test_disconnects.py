"""Clients that leave, in each phase of their answer: nobody computes for them, and the lane is free at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from questions import Question, ask
from server_process import FAKE_MODELS, ServerProcess, read_until, wait_for

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="module", params=[0.02, 600.0], ids=["pinging", "quiet"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With pings going out while the client leaves, and with none."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, FAKE_MODELS, ping_interval=request.param) as started:
        yield started


def phases(server: ServerProcess) -> list[str]:
    return [request["phase"] for request in server.status["requests"]]


def is_idle(server: ServerProcess) -> bool:
    status = server.status
    return not status["requests"] and not status["queue"]["running"] and not status["queue"]["waiting"]


def n_cancelled(server: ServerProcess) -> int:
    return sum(" cancel " in line for line in server.engine_log)


def leave(server: ServerProcess, question: Question, is_left: Callable[[], bool]) -> None:
    question.close()
    wait_for(is_left, 2, "it is noticed")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("phase", "text"), [("prefill", "mute"), ("prefill", "hang"), ("decode", "count 10000 5")])
def test_leaving_an_answer_under_way(server: ServerProcess, phase: str, text: str, stream: bool) -> None:
    """The engine is told to stop, and serves the next one; the model stays."""
    n_before = n_cancelled(server)
    question = Question(server, text, stream=stream)
    wait_for(lambda: phases(server) == [phase], 5, phase)
    leave(server, question, lambda: is_idle(server))
    wait_for(lambda: n_cancelled(server) == n_before + 1, 1, "the engine is told")
    assert ask(server, "echo next").text == "next"
    assert server.status["state"] == "ready"


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_while_it_loads(server: ServerProcess, stream: bool) -> None:
    """The load goes on for nobody, and gives way to the next model that is asked for."""
    question = Question(server, "echo x", "never", stream=stream)
    wait_for(lambda: phases(server) == ["loading"], 5, "it loads")
    leave(server, question, lambda: is_idle(server))
    assert ask(server, "echo hello").text == "hello"


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_the_queue(server: ServerProcess, stream: bool) -> None:
    """What nobody waits for is never computed."""
    with Question(server, "hang") as blocker:
        wait_for(lambda: phases(server) == ["prefill"], 5, "one runs")
        question = Question(server, "echo must-not-run", stream=stream)
        wait_for(lambda: phases(server) == ["prefill", "queued"], 5, "one waits")
        leave(server, question, lambda: phases(server) == ["prefill"])
        leave(server, blocker, lambda: is_idle(server))
    assert ask(server, "echo next").text == "next"
    assert not any("must-not-run" in line for line in server.engine_log)


def test_leaving_while_another_engine_starts(start_server: StartServer) -> None:
    """After its engine has died in the middle of its answer."""
    server = start_server({"m": FAKE_MODELS["gated"]})
    question = Question(server, "gate never 1 x y", stream=True)
    server.open_gate("gated")
    question.read_until('"x"')
    server.close_gate("gated")
    os.kill(server.engine_pid, signal.SIGKILL)
    wait_for(lambda: [r for r in server.status["requests"] if r["n_resumed"]], 5, "another one goes on")
    leave(server, question, lambda: is_idle(server))
    server.open_gate("gated")
    assert ask(server, "echo hello").text == "hello"


def test_everybody_leaves(server: ServerProcess) -> None:
    """Whoever comes next is served at once."""
    crowd = [Question(server, "hang", stream=i % 2 == 0) for i in range(60)]
    wait_for(lambda: server.status["queue"]["waiting"] == 59, 5, "they wait")
    began = time.monotonic()
    for question in crowd:
        question.close()
    assert ask(server, "echo hello").text == "hello"
    assert time.monotonic() - began < 10, "not one after the other, each when it is looked at again"
    wait_for(lambda: is_idle(server), 5, "all have left")


def test_a_disconnect_is_seen_behind_pipelined_bytes(server: ServerProcess) -> None:
    """Bytes that nobody has read yet hide the end of file, and yet it is found."""
    connection = server.connect()
    connection.sendall(server.chat_request("hang", stream=True))
    read_until(connection, b'"role"')
    connection.sendall(server.chat_request("echo never"))
    wait_for(lambda: server.n_unread(connection), 5, "they are there")
    connection.close()
    wait_for(lambda: is_idle(server), 2, "the lane is free")
