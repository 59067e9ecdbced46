"""Engines that die, stall or fail to load, and what clients notice of it: as little as can be."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from questions import Question, ask, numbers
from server_process import ServerProcess, is_alive, wait_for

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Where as many engines may die as the tests need."""
    models = {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "other", "dieonce")}
    with ServerProcess(tmp_path_factory.mktemp("server"), models, crash_limit=1000, parallel=2) as started:
        yield started


def n_tokens(server: ServerProcess) -> int:
    """Of the answers under way, the shortest; 0 without one."""
    return min((request["n_completion"] for request in server.status["requests"]), default=0)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_goes_on_after_kill_9(server: ServerProcess, stream: bool) -> None:
    """No text is lost or doubled; the server is the same."""
    worker = server.worker_pid()
    with Question(server, "count 40 20", stream=stream) as question:
        wait_for(lambda: n_tokens(server) > 3, 10, "it decodes")
        pid = server.engine_pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: [r for r in server.status["requests"] if r["n_resumed"] == 1], 10, "it is told")
        reply = question.reply()
    assert reply.is_whole
    assert reply.text == numbers(40)
    assert server.engine_pid != pid
    assert server.worker_pid() == worker
    assert server.status["crashes"][-1]["reason"] == "signal SIGKILL"
    died = [line for line in server.log.splitlines() if f"engine {pid} died" in line]
    assert len(died) == 1
    assert reply.headers["x-request-id"] in died[0]


def test_answers_side_by_side_go_on_together(server: ServerProcess) -> None:
    """All of them in the one new engine."""
    n_starts = server.status["n_engine_starts"]
    ask(server, "echo x")
    questions = [Question(server, "count 40 20", stream=i == 0) for i in range(2)]
    wait_for(lambda: len(server.status["requests"]) == 2 and n_tokens(server) > 3, 10, "both decode")
    os.kill(server.engine_pid, signal.SIGKILL)
    assert [question.reply().text for question in questions] == [numbers(40)] * 2
    assert server.status["n_engine_starts"] <= n_starts + 2


def test_death_after_death_of_others(server: ServerProcess) -> None:
    """Each request has its own second attempt; what others did does not count against it."""
    for _ in range(4):
        with Question(server, "count 10 30", stream=True) as question:
            question.read_until('"2 "')
            os.kill(server.engine_pid, signal.SIGKILL)
            assert question.reply().text == numbers(10)


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_kills_its_second_engine_too(server: ServerProcess, stream: bool) -> None:
    """500, or what there was and an error event; the next request is served."""
    reply = ask(server, "killer 2", stream=stream)
    assert reply.error == "engine_crashed"
    assert not reply.is_whole
    if stream:
        assert (reply.status, reply.text) == (200, numbers(4))
    else:
        assert reply.status == 500
    assert ask(server, "echo again").text == "again"


@pytest.mark.parametrize("stream", [True, False])
def test_a_death_while_loading_is_not_seen(start_server: StartServer, stream: bool) -> None:
    """The model is loaded again."""
    server = start_server()
    assert ask(server, "echo hello", "dieonce", stream=stream).text == "hello"
    status = server.status
    assert (status["n_engine_starts"], status["n_engine_crashes"]) == (2, 1)


def test_three_crashes_and_a_model_is_left_alone(start_server: StartServer) -> None:
    """For a while it is refused at once, with when to come back; another model still answers."""
    server = start_server(crash_cooling=1)
    assert ask(server, "killer 1").error == "engine_crashed"
    assert ask(server, "killer 1").error == "model_failed", "in its first attempt, by the third crash"
    refused_at = time.monotonic()
    for stream in (True, False):
        reply = ask(server, "echo x", stream=stream)
        assert (reply.status, reply.error, reply.retry_after_s) == (503, "model_failed", 1)
    assert server.status["retry_after_s"].keys() == {"m"}
    assert ask(server, "echo hello", "other").text == "hello"
    assert server.status["n_engine_crashes"] == 3
    wait_for(lambda: ask(server, "echo back").text == "back", 5, "it has cooled down")
    assert time.monotonic() - refused_at > 0.5


def test_a_stopped_engine_is_replaced(start_server: StartServer) -> None:
    """SIGSTOP: after stall_timeout without a sign of life the same answer goes on elsewhere."""
    server = start_server(stall_timeout=0.5)
    with Question(server, "count 60 10", stream=True) as question:
        question.read_until('"5 "')
        pid = server.engine_pid
        began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        reply = question.reply()
        assert 0.4 < time.monotonic() - began < 5
    assert reply.is_whole
    assert reply.text == numbers(60)
    wait_for(lambda: not is_alive(pid), 3, "it is killed")
    assert "no sign of life for 0.5 s" in server.status["crashes"][0]["reason"]


def test_silence_is_a_stall_twice(start_server: StartServer) -> None:
    """A request that silences its second engine too is refused."""
    server = start_server(stall_timeout=0.3)
    assert ask(server, "mute").error == "engine_crashed"
    assert ask(server, "echo again").text == "again"


def test_a_death_while_idle(server: ServerProcess) -> None:
    """It is noticed, and the next request does not."""
    ask(server, "echo x")
    os.kill(server.engine_pid, signal.SIGKILL)
    wait_for(lambda: server.status["state"] == "failed", 5, "it is noticed")
    assert server.status["last_error"] == "engine: signal SIGKILL"
    assert ask(server, "echo again").text == "again"
    assert server.status["state"] == "ready"


def test_an_engine_that_does_not_stop_is_killed(start_server: StartServer) -> None:
    """Ending an engine has a deadline."""
    server = start_server(stop_timeout=0.5)
    for model in ("stubborn", "m"):
        assert ask(server, "echo hello", model).text == "hello"


def test_a_load_has_a_deadline(start_server: StartServer) -> None:
    """A model that does not finish loading is an error, and the server serves on."""
    server = start_server(load_timeout=0.5)
    reply = ask(server, "echo hello", "never")
    assert (reply.status, reply.error) == (503, "load_timeout")
    assert ask(server, "echo hello").text == "hello"


def n_loads(server: ServerProcess) -> int:
    return sum(line.split()[2] == "load" for line in server.engine_log)


def test_a_failed_load_is_not_tried_again_at_once(start_server: StartServer, tmp_path: Path) -> None:
    """Those who come meanwhile are told why, and when to come back; at once if the file has changed."""
    file = tmp_path / "refuse.gguf"
    file.write_bytes(b"broken")
    server = start_server({"m": {"path": str(tmp_path), "model": file.name}})
    for stream in (True, False):
        reply = ask(server, "echo x", stream=stream)
        assert (reply.status, reply.error) == (503, "model_load_failed")
        assert "this is no model" in reply.events[0]["error"]["message"]
        assert 8 <= reply.retry_after_s <= 10
        assert n_loads(server) == 1
    assert 8 < server.status["retry_after_s"]["m"] <= 10
    file.write_bytes(b"broken otherwise")
    assert ask(server, "echo x").retry_after_s == 10
    assert n_loads(server) == 2


def test_a_failed_load_is_tried_again_later(start_server: StartServer) -> None:
    """When the time has come that was told; then it takes longer until the next time."""
    server = start_server(load_backoff=0.6)
    began = time.monotonic()
    assert ask(server, "echo x", "refuse").retry_after_s == 1
    wait_for(lambda: ask(server, "echo x", "refuse") and n_loads(server) == 2, 5, "it is tried again")
    assert time.monotonic() - began > 0.6
    assert ask(server, "echo x", "refuse").retry_after_s == 2


@pytest.mark.parametrize("victim", ["master", "worker"])
def test_no_engine_outlives_its_server(start_server: StartServer, victim: str) -> None:
    """Neither after kill -9 of gunicorn's master nor of its worker."""
    server = start_server()
    with Question(server, "count 10000 50", stream=True) as question:
        question.read_until('"1 "')
        worker, engine = server.worker_pid(), server.engine_pid
        os.kill(server.process.pid if victim == "master" else worker, signal.SIGKILL)
        wait_for(lambda: not is_alive(engine), 5, "the engine has ended")
        wait_for(lambda: not is_alive(worker), 5, "the worker has ended")
    if victim == "worker":
        assert server.status["state"] == "unloaded", "a new worker serves"
