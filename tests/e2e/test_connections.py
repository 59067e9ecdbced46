"""Connections that end, and requests that are none: what the client and the log get to see."""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from server_process import FAKE_SERVER, ServerProcess, read_all, read_until, wait_for

from hoshikage_server.messages import CATALOGUE

StartServer = Callable[..., ServerProcess]

CHAT = "POST /v1/chat/completions"


def closing_chat(server: ServerProcess, text: str, version: str = "1.1", **fields: object) -> bytes:
    """A chat request after whose answer the server closes."""
    request = server.chat_request(text, **fields)
    if version == "1.0":
        return request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_end_of_a_closed_answer_is_not_late(fake_server: ServerProcess, version: str, stream: bool) -> None:
    """The end of file follows the last byte at once, not with the next thing that wakes the server."""
    last = b"[DONE]" if stream else b'"object":"chat.completion"}'
    late_s = 0.0
    for _ in range(10):
        with fake_server.connect() as connection:
            connection.sendall(closing_chat(fake_server, "count 3 20", version, stream=stream))
            assert last in read_until(connection, last)
            began = time.monotonic()
            read_all(connection)
            late_s += time.monotonic() - began
    assert late_s < 5, "gunicorn wakes once a second"


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_released_by_a_timer_closes_cleanly(start_server: StartServer, stream: bool) -> None:
    """queue_timeout and a stalled engine on a connection that closes: nothing is left watching the closed socket."""
    server = start_server()
    with server.connect() as silent, server.connect() as waiting:
        silent.sendall(closing_chat(server, "mute", stream=stream))
        wait_for(lambda: any(" generate " in line for line in server.engine_log), 5, "one runs")
        server.change(queue_timeout=0.3)
        waiting.sendall(closing_chat(server, "echo x", stream=stream))
        assert b"queue_timeout" in read_all(waiting)
        server.change(queue_timeout=60, stall_timeout=1)
        assert b"no sign of life" in read_all(silent)
    assert server.get("/health") == {"status": "ok"}
    assert "ValueError" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_is_one_line_in_the_log(start_server: StartServer, stream: bool) -> None:
    """The same for both kinds of answers; an answer that was read to its end leaves none."""
    server = start_server()
    with server.connect() as connection:
        connection.sendall(closing_chat(server, "echo x", stream=stream))
        read_all(connection)
    connection = server.connect()
    connection.sendall(server.chat_request("hang", stream=stream))
    wait_for(lambda: server.status["queue"]["running"] == 1, 5, "it runs")
    connection.close()
    wait_for(lambda: "client_disconnected" in server.log, 2, "it is logged")
    assert server.log.count("client_disconnected") == 1


@pytest.mark.parametrize(
    "chunks",
    [
        b"top-secret\r\n",
        b"-5\r\ntop-secret",
        b"5\r\nhelloXXtop-secret",
        b"5;\rtop-secret\r\n",
        b"0\r\nbad trailer\r\n\r\n",
    ],
    ids=["size", "negative", "terminator", "extension", "trailer"],
)
def test_a_malformed_chunked_body(fake_server: ServerProcess, chunks: bytes) -> None:
    """400, and nothing of it in the log."""
    with fake_server.connect() as connection:
        connection.sendall(f"{CHAT} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_request"' in answer
    assert b"x-request-id" in answer.lower()
    assert "top-secret" not in fake_server.log
    assert "Traceback" not in fake_server.log


@pytest.mark.parametrize("is_reset", [False, True])
def test_an_upload_that_is_cut_off(start_server: StartServer, is_reset: bool) -> None:
    """A client that leaves in the middle of its body is a disconnect like any other."""
    server = start_server()
    connection = server.connect()
    connection.sendall(f"{CHAT} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{{".encode())
    wait_for(lambda: server.n_unread(connection) == 0, 5, "the server has read it")
    if is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_for(lambda: "client_disconnected" in server.log, 2, "it is logged")
    assert "Traceback" not in server.log
    assert "status=500" not in server.log


PLAIN_GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:hoshikage_server.gunicorn_conf"]
PLAIN_GUNICORN += ["-b", "127.0.0.1:0", "hoshikage_server.wsgi:app"]


@pytest.fixture(scope="module", params=[FAKE_SERVER, PLAIN_GUNICORN], ids=["serve", "gunicorn"])
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`hoshikage serve`, and gunicorn with our configuration."""
    with ServerProcess(tmp_path_factory.mktemp("any"), {}, command=request.param) as server:
        yield server


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"top-secret\r\n\r\n", 400, "malformed_request"),
        (b"get /top-secret HTTP/1.1\r\nHost: t\r\n\r\n", 400, "malformed_request"),
        ("GET /星top-secret HTTP/1.1\r\nHost: t\r\n\r\n".encode(), 400, "malformed_request"),
        (b"GET /top-secret HTTP/9.9\r\nHost: t\r\n\r\n", 400, "malformed_request"),
        (b"GET /health HTTP/1.1\r\nHost: t\r\ntop secret: 1\r\n\r\n", 400, "malformed_request"),
        (b"GET /health HTTP/1.1\r\nHost: t\r\nX: a\r\n top-secret\r\n\r\n", 400, "malformed_request"),
        (b"POST /health HTTP/1.1\r\nHost: t\r\nContent-Length: top-secret\r\n\r\n", 400, "malformed_request"),
        (b"GET /" + b"top-secret" * 1000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414, "request_line_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"top-secret" * 1000 + b"\r\n\r\n", 431, "request_headers_too_large"),
        (b"GET /health HTTP/1.1\r\nHost: t\r\nExpect: top-secret\r\n\r\n", 417, "unsupported_expectation"),
        (b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: top-secret\r\n\r\n", 501, "unsupported_transfer_coding"),
    ],
    ids=["line", "method", "path", "version", "header", "folding", "length", "long-url", "headers", "expect", "coding"],
)
def test_what_is_no_request(any_server: ServerProcess, request_bytes: bytes, status: int, code: str) -> None:
    """gunicorn's refusals are ours: the envelope, an id, and a log line without the client's words."""
    with any_server.connect() as connection:
        connection.sendall(request_bytes)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/json" in head
    assert json.loads(body)["error"] == {
        "message": CATALOGUE[code].en,
        "type": "invalid_request_error",
        "param": None,
        "code": code,
    }
    request_id = re.search(r"X-Request-Id: (req_[0-9a-f]{32})", head.decode())
    assert request_id
    assert sum(request_id[1] in line for line in any_server.log.splitlines()) == 1
    assert "top-secret" not in any_server.log
    assert "top secret" not in any_server.log
    assert "Traceback" not in any_server.log


@pytest.mark.parametrize(
    "unfinished",
    [b"GET /health HTTP/1.1\r\nAuthorization: Bearer SECRET\r\n", b"GET /health HTTP/1.1\r\n\r\nSECRET"],
    ids=["head", "rest"],
)
def test_what_was_sent_of_a_request_is_not_logged(start_server: StartServer, unfinished: bytes) -> None:
    """Also when all is logged: it may be a key, or of a prompt that is longer than its Content-Length."""
    server = start_server(log_level="debug")
    with server.connect() as connection:
        connection.sendall(unfinished)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    wait_for(lambda: "premature client disconnection" in server.log, 5, "gunicorn logs it")
    assert "SECRET" not in server.log
