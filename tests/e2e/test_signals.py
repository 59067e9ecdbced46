"""What the server does about signals, with `hoshikage serve` and with plain gunicorn."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import (
    FAKE_MODELS,
    FAKE_SERVER,
    FAKES,
    TIMEOUT_S,
    ServerProcess,
    is_alive,
    read_all,
    read_until,
    wait_for,
)

StartServer = Callable[..., ServerProcess]

SOON_S = 25  # milliseconds on a free machine; less than the usual grace, and than any answer here that is not ended

# gunicorn's own command line with our configuration, and an application with the fake engine.
PLAIN_GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:hoshikage_server.gunicorn_conf"]
PLAIN_GUNICORN += ["-b", "127.0.0.1:0", "--pythonpath", str(FAKES), "fake_wsgi:app"]


@pytest.fixture(params=[FAKE_SERVER, PLAIN_GUNICORN], ids=["serve", "gunicorn"])
def start_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartServer]:
    """Starts the server in each of the ways there are."""
    started: list[ServerProcess] = []

    def start(**settings: object) -> ServerProcess:
        server = ServerProcess(tmp_path / str(len(started)), FAKE_MODELS, command=request.param, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


def press_ctrl_c(server: ServerProcess) -> None:
    """What a terminal does: the signal goes to every process of the foreground group."""
    os.killpg(server.process.pid, signal.SIGINT)


def engine_pid(server: ServerProcess) -> int:
    """The engine that loaded a model last."""
    return int([line for line in server.engine_log if line.endswith(" load")][-1].split()[0])


def is_listening(server: ServerProcess) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    return True


def assert_clean_end(server: ServerProcess, engine: int) -> None:
    """Soon, exit status 0, the engine asked to end and gone before, and nothing in the log that looks like a fault."""
    assert server.process.wait(SOON_S) == 0
    assert not is_alive(engine), "its memory is free for whatever starts next"
    assert any(line.startswith(f"{engine} ") and line.endswith(" stop") for line in server.engine_log), (
        "it was asked to end"
    )
    for word in (" ERROR ", "[ERROR]", "[CRITICAL]", "Traceback", "SIGKILL"):
        assert word not in server.log


@pytest.mark.parametrize("end", [press_ctrl_c, lambda server: server.process.terminate()], ids=["ctrl-c", "sigterm"])
def test_running_requests_finish(start_any: StartServer, end: Callable[[ServerProcess], None]) -> None:
    """Nobody new is let in, whoever is inside gets the whole answer, streamed or not, running or waiting."""
    server = start_any()
    connections = [server.connect() for _ in range(3)]
    connections[0].sendall(server.chat_request("gate end 1 x y", stream=True))
    read_until(connections[0], b'"x"')
    connections[1].sendall(server.chat_request("count 3 10"))
    connections[2].sendall(server.chat_request("count 4 10", stream=True))
    wait_for(lambda: server.status["queue"]["waiting"] == 2, 5, "the others wait")
    engine = engine_pid(server)
    end(server)
    wait_for(lambda: not is_listening(server), 1, "nobody new is let in")
    server.open_gate("end")
    answers = [read_all(connection) for connection in connections]
    assert b'" y"' in answers[0]
    assert b"[DONE]" in answers[0]
    assert b'"content":"1 2 3 "' in answers[1]
    assert b"[DONE]" in answers[2]
    assert_clean_end(server, engine)


def test_idle_connections_do_not_delay_the_end(start_any: StartServer) -> None:
    """A client that keeps its connection open for later is hung up on at once."""
    server = start_any(grace=600)
    idle, fresh = server.connect(), server.connect()
    idle.sendall(server.chat_request("echo hello"))
    read_until(idle, b"hello")
    engine = engine_pid(server)
    press_ctrl_c(server)
    assert read_all(idle).endswith(b"}") or read_all(idle) == b""
    assert_clean_end(server, engine)
    assert read_all(fresh) == b""
    assert "may go on" not in server.log, "nobody is waited for"


def test_a_second_ctrl_c_ends_it_quickly(start_any: StartServer) -> None:
    """The first waits for a request that runs for long, the next does not; the client is told all the same."""
    server = start_any(grace=600)
    connection = server.connect()
    connection.sendall(server.chat_request("count 10000 50", stream=True))
    read_until(connection, b'"1 "')
    engine = engine_pid(server)
    press_ctrl_c(server)
    wait_for(lambda: "may go on" in server.log, 2, "it waits")
    assert server.process.poll() is None
    press_ctrl_c(server)
    rest = read_all(connection)
    assert b'"code":"shutting_down"' in rest
    assert b"[DONE]" not in rest
    assert rest.endswith(b"0\r\n\r\n"), "the response ends as HTTP wants it"
    assert_clean_end(server, engine)


def test_requests_are_cut_off_when_grace_ends(start_any: StartServer) -> None:
    """A stream gets an error event, a plain request 503, one that waits for its turn too; each is logged once."""
    server = start_any(grace=0.5)
    stream, plain, waiting = (server.connect() for _ in range(3))
    stream.sendall(server.chat_request("count 10000 50", stream=True))
    read_until(stream, b'"1 "')
    plain.sendall(server.chat_request("hang"))
    waiting.sendall(server.chat_request("hang", model="other"))
    wait_for(lambda: server.status["queue"]["waiting"] == 2, 5, "the others wait")
    upload = server.connect()
    upload.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
    wait_for(lambda: server.n_unread(upload) == 0, 5, "the server has read it")
    engine = engine_pid(server)
    began = time.monotonic()
    server.process.terminate()
    rest = read_all(stream)
    assert 0.4 < time.monotonic() - began < SOON_S, "this is the grace"
    assert b'"code":"shutting_down"' in rest
    assert b"[DONE]" not in rest
    assert rest.endswith(b"0\r\n\r\n")
    for connection in (plain, waiting, upload):
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b'"code":"shutting_down"' in answer
    assert_clean_end(server, engine)
    assert server.log.count("code=shutting_down") == 4


def test_a_running_request_on_the_engine_is_cut_off_when_it_is_silent(start_any: StartServer) -> None:
    """Also where there is nothing to write until then."""
    server = start_any(grace=0.3)
    with server.connect() as connection:
        connection.sendall(server.chat_request("hang"))
        wait_for(lambda: server.status["queue"]["running"] == 1, 5, "it runs")
        wait_for(lambda: any(" generate " in line for line in server.engine_log), 5, "the engine is asked")
        engine = engine_pid(server)
        server.process.terminate()
        assert b'"code":"shutting_down"' in read_all(connection)
    assert_clean_end(server, engine)


def test_a_client_that_reads_nothing_does_not_hold_up_the_end(start_any: StartServer) -> None:
    """Nor does one that cannot be told."""
    server = start_any(grace=0.3)
    with server.connect() as connection:
        connection.sendall(server.chat_request("flood 2000 16", stream=True))
        wait_for(lambda: server.status["queue"]["running"] == 1, 5, "it runs")
        server.process.terminate()
        assert server.process.wait(SOON_S) == 0


def test_an_engine_that_does_not_end_is_killed_before_the_server_ends(start_any: StartServer) -> None:
    """Within stop_timeout, for which gunicorn's master waits."""
    server = start_any(stop_timeout=1, grace=0.3)
    with server.connect() as connection:
        connection.sendall(server.chat_request("hang", model="stubborn"))
        wait_for(lambda: any(" generate " in line for line in server.engine_log), 5, "the engine is asked")
        engine = engine_pid(server)
        server.process.terminate()
        assert b'"code":"shutting_down"' in read_all(connection)
    assert server.process.wait(SOON_S) == 0
    assert not is_alive(engine)
    assert "SIGKILL" not in server.log, "gunicorn did not have to kill its worker"


def test_a_service_managers_sigterm(start_any: StartServer) -> None:
    """It goes to the worker and its master at once."""
    server = start_any()
    with server.connect() as connection:
        connection.sendall(server.chat_request("count 10 50", stream=True))
        read_until(connection, b'"1 "')
        engine = engine_pid(server)
        os.killpg(server.process.pid, signal.SIGTERM)
        assert b"[DONE]" in read_all(connection)
    assert_clean_end(server, engine)


def test_a_signal_while_it_starts_counts(start_any: StartServer) -> None:
    """SIGTERM right after the worker has been forked, long before its application is loaded."""
    server = start_any()
    wait_for(lambda: "Booting worker" in server.log, 5, "it is forked")
    worker = server.worker_pid()
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: not is_alive(worker), 5, "it has ended")
    assert server.get("/health") == {"status": "ok"}, "gunicorn starts another"


def test_hangup_keeps_the_model(start_any: StartServer) -> None:
    """SIGHUP reads settings again; worker and engine stay, and an answer that runs goes on."""
    server = start_any()
    toml = server.log_path.parent / "hoshikage.toml"
    with server.connect() as connection:
        connection.sendall(server.chat_request("count 10 100", stream=True))
        read_until(connection, b'"1 "')
        worker, engine = server.worker_pid(), engine_pid(server)
        toml.write_text("max_body = 2000\nmax_connections = 9\n")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "settings were read again" in server.log, 3, "they are read")
        assert b"[DONE]" in read_until(connection, b"[DONE]")
    line = next(line for line in server.log.splitlines() if "settings were read again" in line)
    assert "max_body=2000" in line
    assert "after a restart: max_connections=9" in line
    with server.connect() as connection:
        connection.sendall(server.chat_request("x" * 3000))
        assert b" 413 " in read_until(connection, b"}}").splitlines()[0]
    assert server.worker_pid() == worker
    assert engine_pid(server) == engine
    server.process.terminate()
    assert_clean_end(server, engine)


def test_a_new_worker_has_the_settings_as_they_are_now(start_any: StartServer) -> None:
    """Its master still has those of its start."""
    server = start_any()
    (server.log_path.parent / "hoshikage.toml").write_text("max_body = 2000\n")
    worker = server.worker_pid()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not is_alive(worker), 5, "the worker has ended")
    with server.connect() as connection:
        connection.sendall(server.chat_request("x" * 3000))
        assert b" 413 " in read_until(connection, b"}}").splitlines()[0]


def test_keys_change_while_it_runs(start_any: StartServer) -> None:
    """From none to one to another; a broken file changes nothing, and no key is logged."""
    server = start_any()
    toml = server.log_path.parent / "hoshikage.toml"

    def reread(text: str, seen: str) -> None:
        n_seen = server.log.count(seen)
        toml.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.log.count(seen) == n_seen + 1, 3, seen)

    def is_let_in() -> bool:
        return "data" in server.get("/v1/models")

    assert is_let_in()
    reread('api_keys = ["first-secret"]', "api_keys=['***']")
    assert not is_let_in()
    reread("api_keys = [", "stay as they are")
    assert not is_let_in()
    server.auth = {"Authorization": "Bearer first-secret"}
    assert is_let_in()
    reread('api_keys = ["second-secret"]', "api_keys=['***']")
    assert not is_let_in()
    assert "-secret" not in server.log


def test_the_log_level_changes_while_it_runs(start_any: StartServer) -> None:
    """Errors of requests are logged from info on: below, nothing is said of them any more."""
    server = start_any()
    server.get("/no-such-path")
    assert server.log.count("code=unknown_url") == 1
    (server.log_path.parent / "hoshikage.toml").write_text('log_level = "error"')
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "log_level=error" in server.log, 3, "it is read")
    server.get("/no-such-path")
    assert server.log.count("code=unknown_url") == 1


@pytest.mark.parametrize("is_nohup", [False, True])
def test_a_closed_terminal(tmp_path: Path, is_nohup: bool) -> None:
    """A server in a terminal ends with it, as it does after SIGTERM; under nohup it stays."""
    ours, its = os.openpty()

    def own_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    (tmp_path / "model_map.json").write_text("{}")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    environ |= {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_CACHE_DIR": str(tmp_path / "cache")}
    environ |= {"HOSHIKAGE_PORT": "0", "HOSHIKAGE_LANG": "en"}
    environ |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*(["nohup"] if is_nohup else []), *FAKE_SERVER]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=its, stdout=log, stderr=log, env=environ, preexec_fn=own_the_terminal, cwd=tmp_path
        )
    try:
        os.close(its)
        found = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:(\d+)", (tmp_path / "log").read_text()), 20, "it listens"
        )
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            assert b"ok" in read_until(connection, b"ok")
        os.kill(process.pid, signal.SIGHUP)
        wait_for(lambda: "settings were read again" in (tmp_path / "log").read_text(), 5, "its terminal is there")
        os.close(ours)
        if is_nohup:
            wait_for(lambda: (tmp_path / "log").read_text().count("read again") == 2, 5, "it goes on")
            process.terminate()
        assert process.wait(SOON_S) == 0
    finally:
        process.kill()
        process.wait(5)
