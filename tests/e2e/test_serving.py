"""The real gunicorn server with the fake engine: connections, disconnects, deaths."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from questions import ask
from server_process import FAKE_MODELS, NotReadyError, ServerProcess, read_all, read_until, wait_for

StartServer = Callable[..., ServerProcess]


def idle(server: ServerProcess) -> bool:
    queue = server.status["queue"]
    return queue["running"] == 0 and queue["waiting"] == 0


@pytest.mark.parametrize(
    "program", ["import sys; sys.exit(3)", "import time; time.sleep(60)"], ids=["ends at once", "never listens"]
)
def test_the_readiness_helper_fails_for_what_is_no_server(tmp_path: Path, program: str) -> None:
    """A helper that cannot fail would hide that a server does not start."""
    with pytest.raises(NotReadyError):
        ServerProcess(tmp_path, {}, command=[sys.executable, "-c", program], ready_timeout_s=0.5)


def test_gunicorn_opens_nothing_under_home(fake_server: ServerProcess) -> None:
    """gunicorn's control socket is off."""
    assert not (fake_server.log_path.parent / ".gunicorn").exists()


def test_a_stream_arrives_piece_by_piece(fake_server: ServerProcess) -> None:
    """Deltas are sent as they come, not when the answer is done."""
    with fake_server.connect() as connection:
        connection.sendall(fake_server.chat_request("gate piece 3 a b c d", stream=True))
        read_until(connection, b'" c"')
        fake_server.open_gate("piece")
        assert b'" d"' in read_until(connection, b"[DONE]")


def test_connections_are_kept_and_may_be_pipelined(fake_server: ServerProcess) -> None:
    """Requests sent before an answer has ended are answered one after the other; they are no disconnect."""
    with fake_server.connect() as connection:
        first = fake_server.chat_request("count 5 100", stream=True)
        connection.sendall(first + fake_server.chat_request("echo second"))
        seen = read_until(connection, b'"1 "')
        connection.sendall(fake_server.chat_request("echo third"))  # stays in the socket: nobody reads meanwhile
        seen += read_until(connection, b"third")
        assert b'"5 "' in seen
        assert b"[DONE]" in seen
        assert b"second" in seen
        assert b"third" in seen


def test_requests_are_answered_in_the_order_they_came(fake_server: ServerProcess) -> None:
    """First come, first served."""
    texts = [f"request-{i}" for i in range(8)]
    connections: list[socket.socket] = []
    blocker = fake_server.connect()
    blocker.sendall(fake_server.chat_request("hang"))
    wait_for(lambda: fake_server.status["queue"]["running"] == 1, 5, "the blocker runs")
    for i, text in enumerate(texts):
        connection = fake_server.connect()
        connection.sendall(fake_server.chat_request(f"echo {text}"))
        connections.append(connection)
        wait_for(lambda n=i: fake_server.status["queue"]["waiting"] == n + 1, 5, f"{text} waits")  # type: ignore[misc]
    blocker.close()
    for connection, text in zip(connections, texts, strict=True):
        assert text.encode() in read_until(connection, b'"object":"chat.completion"}')
        connection.close()
    order = [line.rpartition(" ")[2] for line in fake_server.engine_log if "request-" in line]
    assert order == texts


def test_a_reader_that_takes_nothing_is_cut_off(start_server: StartServer) -> None:
    """What is kept for a slow reader is bounded; it does not hold the lane."""
    server = start_server(max_unsent=50)
    reader = server.connect()
    reader.sendall(server.chat_request("flood 5000 16", stream=True))
    wait_for(lambda: server.status["n_engine_starts"] == 1 and idle(server), 15, "the lane is free")
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo next"))
        assert b"next" in read_until(connection, b"next")
    try:
        seen = read_all(reader)
    except ConnectionError:
        seen = b""
    assert b"[DONE]" not in seen, "it was cut off"
    reader.close()
    wait_for(lambda: "code=reader_too_slow" in server.log, 5, "it is logged as what it is")
    assert server.log.count("code=reader_too_slow") == 1
    assert "client_disconnected" not in server.log


def test_a_reader_that_takes_nothing_is_disconnected_after_write_timeout(start_server: StartServer) -> None:
    """An answer that waits in full for a client that does not read does not wait for ever."""
    server = start_server(write_timeout=3)
    ask(server, "echo x")
    reader = server.connect()
    reader.sendall(server.chat_request("flood 200 64", stream=True))
    wait_for(lambda: sum(" done " in line for line in server.engine_log) == 2, 10, "the engine is done")
    wait_for(lambda: server.n_unread(reader) is None, 3, "the connection has ended")
    reader.close()


def test_a_body_that_does_not_arrive_is_given_up(start_server: StartServer) -> None:
    """Reading a request has a deadline."""
    server = start_server(read_timeout=0.5)
    with server.connect() as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in read_until(connection, b"}}").splitlines()[0]


def test_a_body_over_the_limit_is_refused(start_server: StartServer) -> None:
    """By its announced length and, where there is none, by what arrives."""
    server = start_server(max_body=2048)
    with server.connect() as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n{")
        assert b" 413 " in read_until(connection, b"}}").splitlines()[0]
    with server.connect() as connection:
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + chunk * 3 + b"0\r\n\r\n")
        assert b" 413 " in read_until(connection, b"}}").splitlines()[0]


def test_a_chunked_body_is_read(fake_server: ServerProcess) -> None:
    """A request without a length is a request all the same."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "echo chunked-body"}]}).encode()
    with fake_server.connect() as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert b"chunked-body" in read_until(connection, b"chunked-body")


def test_a_crowd_does_not_delay_the_status(fake_server: ServerProcess) -> None:
    """Idle connections and waiting requests cost nobody anything."""

    def took_s() -> float:
        """At best: other programs may compute."""
        times = []
        for _ in range(5):
            began = time.monotonic()
            fake_server.get("/v1/models")
            times.append(time.monotonic() - began)
        return min(times)

    alone_s = took_s()
    crowd = [fake_server.connect() for _ in range(100)]
    for connection in crowd[:20]:
        connection.sendall(fake_server.chat_request("hang"))
    wait_for(lambda: fake_server.status["queue"]["waiting"] == 19, 10, "they wait")
    assert took_s() < 0.2 + 3 * alone_s
    for connection in crowd:
        connection.close()
    wait_for(lambda: idle(fake_server), 5, "all have left")


def test_parallel_requests_run_together(start_server: StartServer) -> None:
    """With two permits, two answers are made at once."""
    server = start_server(parallel=2)
    connections = [server.connect() for _ in range(2)]
    for connection in connections:
        connection.sendall(server.chat_request("gate both 1 x y", stream=True))
        read_until(connection, b'"x"')
    assert server.status["queue"]["running"] == 2
    server.open_gate("both")
    for connection in connections:
        assert b"[DONE]" in read_until(connection, b"[DONE]")
        connection.close()


@pytest.mark.parametrize(("given", "setting"), [(2, 1), (2, 3)])
def test_an_entry_says_how_many_run_together(start_server: StartServer, given: int, setting: int) -> None:
    """More than the setting has it, or fewer: as many at once as the entry says, and the rest waits."""
    models = {name: entry | {"parallel": given} for name, entry in FAKE_MODELS.items()}
    server = start_server(models, parallel=setting)
    connections = [server.connect() for _ in range(given + 1)]
    for n_before, connection in enumerate(connections):
        connection.sendall(server.chat_request("hang"))
        wait_for(lambda n=n_before: sum(asked(server)) == n + 1, 5, "it has arrived")  # type: ignore[misc]
    assert asked(server) == (given, 1)
    connections[0].close()
    wait_for(lambda: asked(server) == (given, 0), 5, "who waited runs")
    for connection in connections[1:]:
        connection.close()


def asked(server: ServerProcess) -> tuple[int, int]:
    """Requests that run, and that wait."""
    queue = server.status["queue"]
    return queue["running"], queue["waiting"]


def test_no_prompt_is_logged(start_server: StartServer) -> None:
    """Of no request, however it ends: answered, continued, refused before or after it woke a model, crashed."""
    server = start_server(crash_limit=100)
    for text, status in (("echo top-secret", 200), ("die 1 top-secret", 200), ("killer 1 top-secret", 500)):
        for stream in (False, True):
            assert ask(server, text, stream=stream).status == (200 if stream else status)
    assert ask(server, "echo top-secret" + "x" * 9000, "other").error == "context_length_exceeded"
    assert ask(server, "echo top-secret", temperature=9).status == 400
    assert ask(server, "x", messages=[{"role": "top-secret", "content": "top-secret"}]).status == 400
    assert "code=engine_crashed" in server.log
    assert "died: signal SIGKILL" in server.log
    assert "top-secret" not in server.log


def test_http_process_loads_no_engine_code(fake_server: ServerProcess) -> None:
    """The native module is mapped in neither gunicorn process."""
    for pid in (fake_server.process.pid, fake_server.worker_pid()):
        assert "_native" not in Path(f"/proc/{pid}/maps").read_text()


def test_listening_to_others_needs_keys(tmp_path: Path) -> None:
    """`serve --host 0.0.0.0` without keys refuses to start and says why."""
    with pytest.raises(NotReadyError, match="HOSHIKAGE_API_KEYS"):
        ServerProcess(tmp_path, {}, command=[sys.executable, "-m", "hoshikage_server", "serve", "--host", "0.0.0.0"])


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:0"])
def test_plain_gunicorn(tmp_path: Path, bind: str) -> None:
    """`gunicorn -c python:hoshikage_server.gunicorn_conf hoshikage_server.wsgi:app` serves, under the same rule."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:hoshikage_server.gunicorn_conf", "-b", bind]
    command += ["hoshikage_server.wsgi:app"]
    if bind.startswith("0"):
        with pytest.raises(NotReadyError, match="HOSHIKAGE_API_KEYS"):
            ServerProcess(tmp_path, {}, command=command)
    else:
        with ServerProcess(tmp_path, {}, command=command) as server:
            assert server.get("/health") == {"status": "ok"}


@pytest.mark.parametrize(
    "program", [["hoshikage_server", "serve"], ["gunicorn", "-c", "python:hoshikage_server.gunicorn_conf"]]
)
def test_a_misspelled_variable_is_told(tmp_path: Path, program: list[str]) -> None:
    """Once, however the server is started."""
    command = [sys.executable, "-m", *program]
    command += ["--port", "0"] if program[-1] == "serve" else ["-b", "127.0.0.1:0", "hoshikage_server.wsgi:app"]
    with ServerProcess(tmp_path, {}, command=command, prot=1) as server:
        assert server.log.count("HOSHIKAGE_PROT") == 1


def test_many_clients_at_once(fake_server: ServerProcess) -> None:
    """Each gets its own answer, whole."""
    failures: list[str] = []

    def ask_one(i: int) -> None:
        with fake_server.connect() as connection:
            connection.sendall(fake_server.chat_request(f"echo a{i}a b{i}b", stream=bool(i % 2)))
            seen = read_until(connection, b"[DONE]" if i % 2 else b'"object":"chat.completion"}')
        if f"a{i}a".encode() not in seen or f"b{i}b".encode() not in seen:
            failures.append(f"{i}: {seen!r}")

    threads = [threading.Thread(target=ask_one, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_models_of_conftest_are_what_the_fake_engine_knows() -> None:
    """A typo in a name would make a test pass for the wrong reason."""
    source = (Path(__file__).parent.parent / "fakes" / "engine.py").read_text()
    for name in FAKE_MODELS.keys() - {"m", "other"}:
        assert f"{name}.gguf" in source


def test_an_engine_never_sees_gevent_or_falcon() -> None:
    """The engine process is plain Python and hoshikage_core."""
    program = (
        "import sys, hoshikage_server.engines.worker; print([m for m in ('gevent', 'falcon') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_http_side_never_imports_the_library() -> None:
    """Nor does anything the application imports."""
    program = "import sys, hoshikage_server.app, hoshikage_server.serving; print('hoshikage_core' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
