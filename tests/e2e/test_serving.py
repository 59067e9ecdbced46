"""The real gunicorn server with the fake engine: connections, disconnects, deaths."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import FAKE_MODELS, NotReadyError, ServerProcess, is_alive, read_all, read_until, wait_for

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
        connection.sendall(fake_server.chat_request("count 3 300", stream=True))
        began = time.monotonic()
        read_until(connection, b'"1 "')
        first = time.monotonic() - began
        read_until(connection, b"[DONE]")
        assert first < 0.25 + (time.monotonic() - began) / 3
        assert time.monotonic() - began > 0.55


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


def test_a_disconnect_is_seen_behind_pipelined_bytes(fake_server: ServerProcess) -> None:
    """Bytes that nobody has read yet hide the end of file, and yet it is found."""
    connection = fake_server.connect()
    connection.sendall(fake_server.chat_request("hang", stream=True))
    read_until(connection, b'"role"')
    connection.sendall(fake_server.chat_request("echo never"))
    time.sleep(0.1)  # for the bytes to be there first
    connection.close()
    wait_for(lambda: idle(fake_server), 2, "the lane is free")


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_frees_the_lane_at_once(fake_server: ServerProcess, stream: bool) -> None:
    """A client that goes away while its answer is made is noticed without a write, and the engine is told."""
    connection = fake_server.connect()
    connection.sendall(fake_server.chat_request("hang", stream=stream))
    if stream:
        read_until(connection, b'"role"')  # after this there is nothing to write
    wait_for(lambda: fake_server.status["queue"]["running"] == 1, 5, "it runs")
    n_cancelled = sum(" cancel " in line for line in fake_server.engine_log)
    began = time.monotonic()
    connection.close()
    wait_for(lambda: idle(fake_server), 1, "the lane is free")
    assert time.monotonic() - began < 0.5
    wait_for(lambda: sum(" cancel " in line for line in fake_server.engine_log) > n_cancelled, 1, "cancel arrived")


def test_a_client_that_leaves_the_queue_is_never_computed(fake_server: ServerProcess) -> None:
    """Disconnecting while waiting takes the request out of the queue."""
    first, second = fake_server.connect(), fake_server.connect()
    first.sendall(fake_server.chat_request("hang"))
    wait_for(lambda: fake_server.status["queue"]["running"] == 1, 5, "the first runs")
    second.sendall(fake_server.chat_request("echo must-not-run"))
    wait_for(lambda: fake_server.status["queue"]["waiting"] == 1, 5, "the second waits")
    second.close()
    wait_for(lambda: fake_server.status["queue"]["waiting"] == 0, 1, "the second has left")
    first.close()
    wait_for(lambda: idle(fake_server), 1, "the lane is free")
    assert not any("must-not-run" in line for line in fake_server.engine_log)


def test_a_client_that_leaves_while_loading_frees_the_lane(start_server: StartServer) -> None:
    """The load goes on for nobody, and gives way to the next model that is asked for."""
    server = start_server()
    connection = server.connect()
    connection.sendall(server.chat_request("echo x", model="never"))
    wait_for(lambda: server.status["state"] == "loading", 5, "it loads")
    connection.close()
    wait_for(lambda: idle(server), 1, "the lane is free")
    with server.connect() as other:
        other.sendall(server.chat_request("echo hello", model="m"))
        assert b"hello" in read_until(other, b"hello")


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


def test_an_engine_killed_in_a_stream_ends_it_with_an_error(fake_server: ServerProcess) -> None:
    """The stream ends with an error event and no [DONE]; the next request gets a new engine from the same server."""
    worker = fake_server.worker_pid()
    with fake_server.connect() as connection:
        connection.sendall(fake_server.chat_request("count 1000 50", stream=True))
        read_until(connection, b'"2 "')
        pid = fake_server.status["engine"]["pid"]
        os.kill(pid, signal.SIGKILL)
        rest = read_until(connection, b"0\r\n\r\n")
    assert b'"code":"engine_crashed"' in rest
    assert b"[DONE]" not in rest
    with fake_server.connect() as connection:
        connection.sendall(fake_server.chat_request("echo again"))
        assert b"again" in read_until(connection, b"again")
    assert fake_server.status["engine"]["pid"] != pid
    assert fake_server.worker_pid() == worker


def test_a_stopped_engine_is_killed(start_server: StartServer) -> None:
    """SIGSTOP: no sign of life for stall_timeout is an error, and a new engine serves the next request."""
    server = start_server(stall_timeout=0.5)
    with server.connect() as connection:
        connection.sendall(server.chat_request("count 1000 50", stream=True))
        read_until(connection, b'"1 "')
        pid = server.status["engine"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert b'"code":"engine_stalled"' in read_until(connection, b"engine_stalled")
    wait_for(lambda: not is_alive(pid), 3, "it is killed")
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo again"))
        assert b"again" in read_until(connection, b"again")


@pytest.mark.parametrize("victim", ["master", "worker"])
def test_no_engine_outlives_its_server(start_server: StartServer, victim: str) -> None:
    """Neither after kill -9 of gunicorn's master nor of its worker."""
    server = start_server()
    connection = server.connect()
    connection.sendall(server.chat_request("count 10000 50", stream=True))
    read_until(connection, b'"1 "')
    worker, engine = server.worker_pid(), server.status["engine"]["pid"]
    os.kill(server.process.pid if victim == "master" else worker, signal.SIGKILL)
    wait_for(lambda: not is_alive(engine), 5, "the engine has ended")
    wait_for(lambda: not is_alive(worker), 5, "the worker has ended")
    connection.close()
    if victim == "worker":
        assert server.status["state"] == "unloaded", "a new worker serves"


def test_sigterm_lets_running_requests_finish(start_server: StartServer) -> None:
    """The answer that was under way is complete; then everything ends."""
    server = start_server()
    with server.connect() as connection:
        connection.sendall(server.chat_request("count 15 100", stream=True))
        seen = read_until(connection, b'"1 "')
        engine = server.status["engine"]["pid"]
        server.process.send_signal(signal.SIGTERM)
        seen += read_until(connection, b"[DONE]")
    assert b'"15 "' in seen
    assert b"[DONE]" in seen
    assert server.process.wait(10) == 0
    assert not is_alive(engine), "its memory is free for whatever starts next"
    assert server.engine_log[-1].endswith(" stop"), "it was asked to end"


def test_a_reader_that_takes_nothing_is_cut_off(start_server: StartServer) -> None:
    """What is kept for a slow reader is bounded; it does not hold the lane."""
    server = start_server(max_unsent=50)
    reader = server.connect()
    reader.sendall(server.chat_request("flood 5000 16", stream=True))
    wait_for(lambda: server.status["n_engine_starts"] == 1 and idle(server), 15, "the lane is free")
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo next"))
        assert b"next" in read_until(connection, b"next")
    reader.settimeout(20)
    try:
        seen = read_all(reader)
    except ConnectionError:
        seen = b""
    assert b"[DONE]" not in seen, "it was cut off"
    reader.close()


def test_a_reader_that_takes_nothing_is_disconnected_after_write_timeout(start_server: StartServer) -> None:
    """An answer that waits in full for a client that does not read does not wait for ever."""
    server = start_server(write_timeout=1)
    reader = server.connect()
    reader.sendall(server.chat_request("flood 500 64", stream=True))
    wait_for(lambda: server.status["n_engine_starts"] == 1 and idle(server), 10, "the engine is done")
    peer = reader.getsockname()[1]

    def is_connected() -> bool:
        output = Path("/proc/net/tcp").read_text().splitlines()[1:]
        local = f"0100007F:{server.port:04X}"
        remote = f"0100007F:{peer:04X}"
        return any(line.split()[1:4] == [local, remote, "01"] for line in output)

    assert is_connected()
    wait_for(lambda: not is_connected(), 15, "the connection has ended")
    reader.close()


def test_queue_limits(start_server: StartServer) -> None:
    """A full queue is 429, a wait that is too long 503; both say when to come back."""
    server = start_server(max_queue=1, queue_timeout=1)
    blocker, waiter, refused = server.connect(), server.connect(), server.connect()
    blocker.sendall(server.chat_request("hang"))
    wait_for(lambda: server.status["queue"]["running"] == 1, 5, "the blocker runs")
    waiter.sendall(server.chat_request("echo x"))
    wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "one waits")
    refused.sendall(server.chat_request("echo x"))
    answer = read_until(refused, b"}}")
    assert answer.startswith(b"HTTP/1.1 429")
    assert b'"code":"queue_full"' in answer
    assert b"retry-after" in answer.lower()
    answer = read_until(waiter, b"}}")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"queue_timeout"' in answer
    for connection in (blocker, waiter, refused):
        connection.close()


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
    crowd = [fake_server.connect() for _ in range(100)]
    for connection in crowd[:20]:
        connection.sendall(fake_server.chat_request("hang"))
    wait_for(lambda: fake_server.status["queue"]["waiting"] == 19, 10, "they wait")
    began = time.monotonic()
    fake_server.get("/v1/models")
    assert time.monotonic() - began < 0.5
    for connection in crowd:
        connection.close()
    wait_for(lambda: idle(fake_server), 5, "all have left")


def test_parallel_requests_run_together(start_server: StartServer) -> None:
    """With two permits, two answers are made at once."""
    server = start_server(parallel=2)
    connections = [server.connect() for _ in range(2)]
    for connection in connections:
        connection.sendall(server.chat_request("count 5 100", stream=True))
    wait_for(lambda: server.status["queue"]["running"] == 2, 5, "both run")
    for connection in connections:
        assert b"[DONE]" in read_until(connection, b"[DONE]")
        connection.close()


def test_two_models_take_turns(fake_server: ServerProcess) -> None:
    """Another model means another engine; the old one has ended before."""
    pids = []
    for model in ("m", "other", "m"):
        with fake_server.connect() as connection:
            connection.sendall(fake_server.chat_request("echo hello", model=model))
            assert b"hello" in read_until(connection, b"hello")
        status = fake_server.status
        assert status["model"] == model
        pids.append(status["engine"]["pid"])
    assert len(set(pids)) == 3
    assert not is_alive(pids[0])
    assert not is_alive(pids[1])


def test_a_switch_waits_for_answers_of_the_other_model(start_server: StartServer) -> None:
    """An engine in use is never ended."""
    server = start_server(parallel=2)
    first, second = server.connect(), server.connect()
    first.sendall(server.chat_request("count 10 50", stream=True))
    read_until(first, b'"1 "')
    second.sendall(server.chat_request("echo other", model="other"))
    assert b"[DONE]" in read_until(first, b"[DONE]")
    assert b"other" in read_until(second, b'"object":"chat.completion"}')
    first.close()
    second.close()


def test_an_engine_that_does_not_stop_is_killed(start_server: StartServer) -> None:
    """Ending an engine has a deadline."""
    server = start_server(stop_timeout=0.5)
    for model in ("stubborn", "m"):
        with server.connect() as connection:
            connection.sendall(server.chat_request("echo hello", model=model))
            assert b"hello" in read_until(connection, b"hello")


def test_a_load_has_a_deadline(start_server: StartServer) -> None:
    """A model that does not finish loading is an error, and the server serves on."""
    server = start_server(load_timeout=0.5)
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo hello", model="never"))
        assert b'"code":"load_timeout"' in read_until(connection, b"}}")
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo hello", model="m"))
        assert b"hello" in read_until(connection, b"hello")


def test_no_prompt_is_logged(fake_server: ServerProcess) -> None:
    """Neither of a request that went well nor of one that failed."""
    for text, fields in (("echo top-secret", {}), ("die top-secret", {}), ("echo top-secret", {"temperature": 9})):
        with fake_server.connect() as connection:
            connection.sendall(fake_server.chat_request(text.replace("die top-secret", "die 1"), **fields))  # type: ignore[arg-type]
            read_until(connection, b"}")
    with fake_server.connect() as connection:
        body = {"model": "m", "messages": [{"role": "top-secret", "content": "top-secret"}]}
        connection.sendall(fake_server.request("POST", "/v1/chat/completions", body))
        read_until(connection, b"}}")
    assert "engine_crashed" in fake_server.log
    assert "top-secret" not in fake_server.log


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


def test_many_clients_at_once(fake_server: ServerProcess) -> None:
    """Each gets its own answer, whole."""
    failures: list[str] = []

    def ask(i: int) -> None:
        with fake_server.connect() as connection:
            connection.sendall(fake_server.chat_request(f"echo a{i}a b{i}b", stream=bool(i % 2)))
            seen = read_until(connection, b"[DONE]" if i % 2 else b'"object":"chat.completion"}')
        if f"a{i}a".encode() not in seen or f"b{i}b".encode() not in seen:
            failures.append(f"{i}: {seen!r}")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_dark_server_is_small(start_server: StartServer) -> None:
    """With no model loaded the two gunicorn processes hold less than 80 MiB of their own."""
    server = start_server()
    server.get("/v1/models")
    kib = 0
    for pid in (server.process.pid, server.worker_pid()):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    assert kib < 80 * 1024


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
