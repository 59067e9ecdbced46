"""Engines that die, stall or fail to load, and what clients notice of it: as little as can be."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from questions import Question, ask, numbers
from server_process import FAKE_MODELS, ServerProcess, is_alive, wait_for

StartServer = Callable[..., ServerProcess]

WORDS = "a b c d e f g"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Where as many engines may die as the tests need."""
    models = {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "other", "dieonce")}
    with ServerProcess(tmp_path_factory.mktemp("server"), models, crash_limit=1000, parallel=2) as started:
        yield started


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> str:
    """A gate of the test's own, which is closed."""
    return str(request.node.name)


def n_tokens(server: ServerProcess) -> list[int]:
    """Of the answers under way."""
    return [request["n_completion"] for request in server.status["requests"]]


def n_resumed(server: ServerProcess) -> list[int]:
    """How often another engine has taken them up."""
    return [request["n_resumed"] for request in server.status["requests"]]


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_goes_on_after_kill_9(server: ServerProcess, gate: str, stream: bool) -> None:
    """No text is lost or doubled; the server is the same."""
    worker = server.worker_pid()
    with Question(server, f"gate {gate} 4 {WORDS}", stream=stream) as question:
        wait_for(lambda: n_tokens(server) == [4], 10, "it decodes")
        pid = server.engine_pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: n_resumed(server) == [1], 10, "it is told")
        server.open_gate(gate)
        reply = question.reply()
    assert reply.is_whole
    assert reply.text == WORDS
    assert server.engine_pid != pid
    assert server.worker_pid() == worker
    assert server.status["crashes"][-1]["reason"] == "signal SIGKILL"
    died = [line for line in server.log.splitlines() if f"engine {pid} died" in line]
    assert len(died) == 1
    assert reply.headers["x-request-id"] in died[0]


def test_answers_side_by_side_go_on_together(server: ServerProcess, gate: str) -> None:
    """All of them in the one new engine."""
    ask(server, "echo x")
    n_starts = server.status["n_engine_starts"]
    questions = [Question(server, f"gate {gate} 4 {WORDS}", stream=i == 0) for i in range(2)]
    wait_for(lambda: n_tokens(server) == [4, 4], 10, "both decode")
    os.kill(server.engine_pid, signal.SIGKILL)
    wait_for(lambda: n_resumed(server) == [1, 1], 10, "they go on")
    server.open_gate(gate)
    assert [question.reply().text for question in questions] == [WORDS] * 2
    assert server.status["n_engine_starts"] == n_starts + 1


def test_death_after_death_of_others(server: ServerProcess, gate: str) -> None:
    """Each request has its own second attempt; what others did does not count against it."""
    for i in range(4):
        with Question(server, f"gate {gate}-{i} 2 {WORDS}", stream=True) as question:
            question.read_until('" b"')
            os.kill(server.engine_pid, signal.SIGKILL)
            wait_for(lambda: n_resumed(server) == [1], 10, "it goes on")
            server.open_gate(f"{gate}-{i}")
            assert question.reply().text == WORDS


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
    models = FAKE_MODELS | {"soon": FAKE_MODELS["m"] | {"model": "soon.gguf"}}
    server = start_server(models)
    for model, cooling_s in (("m", 500), ("soon", 1)):
        server.change(crash_cooling=cooling_s, crash_window=600)
        assert ask(server, "killer 1", model).error == "engine_crashed"
        began = time.monotonic()
        assert ask(server, "killer 1", model).error == "model_failed", "in its first attempt, by the third crash"
    wait_for(lambda: ask(server, "echo back", "soon").text == "back", 5, "it has cooled down")
    assert time.monotonic() - began > 1
    for stream in (True, False):
        reply = ask(server, "echo x", stream=stream)
        assert (reply.status, reply.error) == (503, "model_failed")
        assert 300 < reply.retry_after_s <= 500
    assert server.status["retry_after_s"].keys() == {"m"}
    assert ask(server, "echo hello", "other").text == "hello"
    assert server.status["n_engine_crashes"] == 6


def test_a_stopped_engine_is_replaced(start_server: StartServer) -> None:
    """SIGSTOP: after stall_timeout without a sign of life the same answer goes on elsewhere."""
    server = start_server()
    with Question(server, f"gate go 2 {WORDS}", stream=True) as question:
        question.read_until('" b"')
        pid = server.engine_pid
        os.kill(pid, signal.SIGSTOP)
        server.change(stall_timeout=3)  # only now, and not less: engines are silent while they start
        wait_for(lambda: n_resumed(server) == [1], 5, "it is given up")
        server.open_gate("go")
        reply = question.reply()
    assert reply.is_whole
    assert reply.text == WORDS
    wait_for(lambda: not is_alive(pid), 3, "it is killed")
    assert "no sign of life for 3 s" in server.status["crashes"][0]["reason"]


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
    server = start_server()
    server.change(load_timeout=0.5)
    reply = ask(server, "echo hello", "never")
    assert (reply.status, reply.error) == (503, "load_timeout")
    server.change(load_timeout=60)
    assert ask(server, "echo hello").text == "hello"


def n_loads(server: ServerProcess) -> int:
    return sum(line.split()[2] == "load" for line in server.engine_log)


def test_a_failed_load_is_not_tried_again_at_once(start_server: StartServer, tmp_path: Path) -> None:
    """Those who come meanwhile are told why, and when to come back; at once if the file has changed."""
    file = tmp_path / "refuse.gguf"
    file.write_bytes(b"broken")
    server = start_server({"m": {"path": str(tmp_path), "model": file.name}}, load_backoff=100)
    for stream in (True, False):
        reply = ask(server, "echo x", stream=stream)
        assert (reply.status, reply.error) == (503, "model_load_failed")
        assert "this is no model" in reply.events[0]["error"]["message"]
        assert 50 < reply.retry_after_s <= 100
        assert n_loads(server) == 1
    assert 50 < server.status["retry_after_s"]["m"] <= 100
    file.write_bytes(b"broken otherwise")
    assert ask(server, "echo x").retry_after_s == 100
    assert n_loads(server) == 2


def test_a_failed_load_is_tried_again_later(start_server: StartServer) -> None:
    """When the time has come that was told; then it takes longer until the next time."""
    server = start_server(load_backoff=0.6)
    began = time.monotonic()
    assert ask(server, "echo x", "refuse").retry_after_s == 1
    reply = wait_for(lambda: (r := ask(server, "echo x", "refuse")) and n_loads(server) == 2 and r, 5, "a second try")
    assert time.monotonic() - began > 0.6
    assert reply.retry_after_s == 2


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
