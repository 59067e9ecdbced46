"""When something runs out: connections, descriptors, space on a disk. An error, then recovery; the faults are real."""

from __future__ import annotations

import json
import os
import resource
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rpc_workers import free_port
from server_process import FAKE_MODELS, FAKE_SERVER, TIMEOUT_S, ServerProcess, read_all, read_until, wait_for
from tiny_gguf import TinyModel

StartServer = Callable[..., ServerProcess]

BUSY_SHARE = 0.25  # of a CPU: a loop that never rests takes a whole one


def cpu_share(pid: int, during_s: float) -> float:
    """How much of one CPU a process takes."""

    def cpu_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = cpu_s(), time.monotonic()
    time.sleep(during_s)
    return (cpu_s() - before) / (time.monotonic() - began)


def answers_health(connection: socket.socket, server: ServerProcess, timeout_s: float = TIMEOUT_S) -> bool:
    connection.settimeout(timeout_s)
    try:
        connection.sendall(server.request("GET", "/health"))
        return b'{"status":"ok"}' in read_until(connection, b"}")
    except TimeoutError:
        return False
    finally:
        connection.settimeout(TIMEOUT_S)


def n_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class Descriptors:
    """Leaves a process so many descriptors more than it has, until the end of the block."""

    def __init__(self, pid: int, n_more: int) -> None:
        self.pid = pid
        self.limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = (number for number in range(10_000) if number not in used)
        self.limit = next(number for i, number in enumerate(free) if i == n_more)  # the first one it shall not get

    def __enter__(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (self.limit, self.limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.limits)


def ask(server: ServerProcess, text: str, connection: socket.socket | None = None) -> bytes:
    """A whole answer, on a connection of its own or on a given one."""
    with connection or server.connect() as used:
        used.sendall(server.chat_request(text).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return read_all(used)


def test_more_connections_than_allowed(start_server: StartServer) -> None:
    """Who comes too late waits, without work for the server, and is served when somebody leaves."""
    server = start_server(max_connections=5)
    inside = [server.connect() for _ in range(5)]
    for connection in inside:
        connection.sendall(server.chat_request("hang", stream=True))
    wait_for(lambda: any(" generate " in line for line in server.engine_log), 5, "they are inside")
    outside = [server.connect() for _ in range(3)]
    assert not answers_health(outside[0], server, 0.5)
    assert cpu_share(server.worker_pid(), 1) < BUSY_SHARE
    for connection in inside[1:3]:
        connection.close()
    assert b'"status":"ok"' in read_until(outside[0], b"}")
    assert answers_health(outside[1], server)
    assert not answers_health(outside[2], server, 0.5)
    outside[0].close()
    assert b'"status":"ok"' in read_until(outside[2], b"}")
    for connection in (*inside, *outside):
        connection.close()


def test_a_crowd_at_a_narrow_door(start_server: StartServer) -> None:
    """A hundred at once where five may come in: each gets its answer."""
    server = start_server(max_connections=5)
    crowd = [server.connect() for _ in range(100)]
    for i, connection in enumerate(crowd):
        connection.sendall(server.chat_request(f"echo a{i}a").replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    for i, connection in enumerate(crowd):
        assert f"a{i}a".encode() in read_all(connection)
        connection.close()


def test_no_descriptors_for_connections(start_server: StartServer) -> None:
    """Those who are inside are served, the others wait in the kernel; one line says so, and the server rests."""
    server = start_server()
    assert b"hello" in ask(server, "echo hello")
    worker = server.worker_pid()
    n_before = n_descriptors(worker)
    with Descriptors(worker, 10):
        crowd = [server.connect() for _ in range(60)]
        for connection in crowd:
            connection.sendall(server.chat_request("hang", stream=True))
        wait_for(lambda: "no connection can be accepted" in server.log, 5, "it is told")
        assert cpu_share(worker, 2) < BUSY_SHARE
        wait_for(lambda: any(" generate " in line and "hang" in line for line in server.engine_log), 5, "one is served")
        assert server.log.count("no connection can be accepted") == 1
        for connection in crowd:
            connection.close()
        wait_for(lambda: server.get("/health") == {"status": "ok"}, 5, "it recovers by itself, under the same limit")
        wait_for(lambda: "accepted again" in server.log, 5, "that is told too")
        assert b"hello" in ask(server, "echo hello")
    wait_for(lambda: n_descriptors(worker) <= n_before, 10, "none is lost")
    assert server.worker_pid() == worker
    assert "Traceback" not in server.log


def test_the_last_descriptor(start_server: StartServer) -> None:
    """With the connection that took it, the shortage ends, and the log says so, though nobody comes afterwards."""
    server = start_server()
    with server.connect() as first:  # it stays: one that was closing would give back a descriptor at any time
        assert answers_health(first, server)
        with Descriptors(server.worker_pid(), 1):
            last = server.connect()
            wait_for(lambda: "no connection can be accepted" in server.log, 5, "it is told")
            assert answers_health(last, server)
            last.close()
            wait_for(lambda: "accepted again" in server.log, 5, "that is told too")
    assert server.log.count("no connection can be accepted") == 1


def test_no_descriptors_for_an_engine(start_server: StartServer) -> None:
    """503 that says why, whatever the number that is missing; with descriptors it works, and none is lost."""
    server = start_server()
    server.get("/v1/models")
    worker = server.worker_pid()
    n_before = n_descriptors(worker)
    refused = 0
    for n_more in range(12):
        connection = server.connect()
        assert answers_health(connection, server), "this connection is inside"
        with Descriptors(worker, n_more):
            answer = ask(server, "echo hello", connection)
        if b'"content":"hello"' in answer:
            break
        refused += 1
        assert answer.startswith(b"HTTP/1.1 503 ")
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == "model_load_failed"
        assert error["message"].endswith("too many files are open: raise the limit, 'ulimit -n'")
        wait_for(lambda: n_descriptors(worker) <= n_before, 2, f"none is lost where {n_more} are free")
    assert refused >= 3
    assert b'"content":"hello"' in ask(server, "echo hello")
    assert server.worker_pid() == worker
    assert "Traceback" not in server.log


def test_the_limit_of_descriptors_is_raised(tmp_path: Path) -> None:
    """Where it may be: max_connections is what counts, not what a shell starts with."""
    command = ["sh", "-c", f"ulimit -Sn 60; exec {shlex.join(FAKE_SERVER)}"]
    with ServerProcess(tmp_path, FAKE_MODELS, command=command, max_connections=300) as server:
        crowd = [server.connect() for _ in range(150)]
        for connection in crowd:
            assert answers_health(connection, server)
        for connection in crowd:
            connection.close()
        assert "no connection" not in server.log


@pytest.mark.parametrize("redirection", ["2>/dev/full", ">/dev/full 2>&1"])
def test_a_full_disk_for_the_log(tmp_path: Path, redirection: str) -> None:
    """Nothing can be logged or printed: answers, errors and the end are what they always are."""
    port = free_port()
    (tmp_path / "model_map.json").write_text(json.dumps(FAKE_MODELS))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    environ |= {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_CACHE_DIR": str(tmp_path / "cache")}
    environ |= {"HOSHIKAGE_PORT": str(port), "HOSHIKAGE_LOG_LEVEL": "debug"}
    environ |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(["sh", "-c", f"exec {shlex.join(FAKE_SERVER)} {redirection}"], env=environ)
    try:

        def request(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
                connection.sendall(data)
                return read_all(connection)

        def is_ready() -> bool:
            try:
                return b"ok" in request(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            except ConnectionRefusedError:
                return False

        wait_for(is_ready, 20, "it serves")
        for text, expected in (("echo hello", b"hello"), ("late internal", b"internal_error"), ("echo on", b"on")):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            assert expected in request(head % len(body) + body)
        assert b" 400 " in request(b"nonsense\r\n\r\n")
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait(5)


def test_logging_goes_on_when_there_is_space_again(start_server: StartServer) -> None:
    """No line may be written for a while (the limit of a file's size stands for the disk); then they are again."""
    server = start_server()
    worker = server.worker_pid()
    size = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    assert b"hello" in ask(server, "echo hello")  # the engine inherits the limits of its start
    server.get("/first")
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, size[1]))
    server.get("/second")
    assert b"hello" in ask(server, "echo hello")
    assert server.log.count("code=unknown_url") == 1
    resource.prlimit(worker, resource.RLIMIT_FSIZE, size)
    server.get("/third")
    assert server.log.count("code=unknown_url") >= 2
    assert server.worker_pid() == worker


@pytest.mark.parametrize("command", [["add", "x.gguf", "new"], ["rm", "model-1"]])
def test_no_space_for_the_model_map(tmp_path: Path, command: list[str]) -> None:
    """One sentence, exit status 1; the file is as it was, and nothing is left beside it."""
    TinyModel(n_layer=1).write(tmp_path / "x.gguf")
    path = tmp_path / "model_map.json"
    path.write_text(json.dumps({f"model-{i}": {"path": "/nowhere", "model": "x.gguf"} for i in range(100)}))
    before = path.read_bytes()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    environ |= {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_LANG": "en"}
    environ |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        ["sh", "-c", f"ulimit -f 2; exec {shlex.join([sys.executable, '-m', 'hoshikage_server', *command])}"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == f"hoshikage: The model map {path} could not be written: the file would be too large\n"
    assert path.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} <= {"x.gguf", "model_map.json", "model_map.json.lock"}
