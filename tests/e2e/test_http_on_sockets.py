"""HTTP as it only shows on a socket: refusals that arrive, bodies in pieces, connections that go on."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from raw_answers import KeptReader
from server_process import FAKE_MODELS, TIMEOUT_S, ServerProcess, read_all, read_until

StartServer = Callable[..., ServerProcess]

CHAT = "/v1/chat/completions"
MAX_BODY = 64 * 1024
LARGE = b"x" * (24 * 1024 * 1024)  # more than sockets and their buffers hold
PAGE = "https://chat.example.com"
N_IDLE = 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("surface")
    with ServerProcess(folder, FAKE_MODELS, max_body=MAX_BODY, cors_origins=PAGE) as server:
        yield server


def read_answer(connection: socket.socket, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection that goes on."""
    response = HTTPResponse(connection, method=method)
    response.begin()
    body = response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def error_of(body: bytes) -> Any:
    return json.loads(body)["error"]["code"]


@pytest.mark.parametrize("connection_header", ["keep-alive", "close"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (CHAT, {}, 413),
        (CHAT, {"Content-Type": "multipart/form-data"}, 415),
        (CHAT, {"Content-Encoding": "br"}, 415),
        (CHAT, {"Origin": "https://evil.example"}, 403),
        (CHAT, {"Host": "evil.example"}, 403),
        ("/v1/nowhere", {}, 404),
        ("/v1/status", {}, 405),
    ],
    ids=["size", "type", "encoding", "origin", "host", "path", "method"],
)
def test_a_refusal_arrives(
    server: ServerProcess, path: str, headers: dict[str, str], status: int, connection_header: str
) -> None:
    """The client gets to send all of a large body that nobody wants, and then reads why; no reset takes that away."""
    lines = {"Host": "localhost", "Content-Length": len(LARGE), "Connection": connection_header, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with server.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(LARGE)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer.lower(), "as the body is larger than any that is read"
    assert error_of(answer.partition(b"\r\n\r\n")[2])


def test_a_large_chunked_body_is_refused_too(server: ServerProcess) -> None:
    """It does not say how large it is: it is read up to the limit, and the rest dropped."""
    with server.connect() as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(24):
            connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        connection.sendall(b"0\r\n\r\n" + server.request("GET", "/health"))
        status, _, body = read_answer(connection)
        assert (status, error_of(body)) == (413, "request_too_large")
        assert read_answer(connection)[0] == 200, "its end was found, so the connection goes on"


@pytest.mark.parametrize(
    "lines",
    [b"2000000\r\n{", b"5\r\nhello\r\n10001\r\n", b"f" * 300 + b"\r\n", b"ffff;a=b\r\n" + b"x" * 65535 + b"\r\n2\r\n"],
)
def test_chunks_that_announce_too_much(server: ServerProcess, lines: bytes) -> None:
    """413: nothing is waited for that does not come."""
    with server.connect() as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + lines)
        status, _, body = read_answer(connection)
        assert (status, error_of(body)) == (413, "request_too_large")


@pytest.mark.parametrize("coding", [b"x", b"gzip, chunked", b"identity, chunked", b"chunked\r\nTransfer-Encoding: x"])
def test_what_is_no_request_is_answered_as_well(server: ServerProcess, coding: bytes) -> None:
    """However much follows it."""
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: %b\r\n\r\n" % coding + LARGE)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert error_of(answer.partition(b"\r\n\r\n")[2]) == "unsupported_transfer_coding"


def test_who_waits_for_100(server: ServerProcess) -> None:
    """The body is asked for, unless it will not be taken: then the refusal comes at once, and in its place."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "echo hi"}]}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: "
    with server.connect() as connection:
        connection.sendall(f"{head}{len(body)}\r\n\r\n".encode())
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection)[0] == 200
        connection.sendall(f"{head}{MAX_BODY + 1}\r\n\r\n".encode())
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("n_bytes", [1, 7, 1000])
def test_a_chunked_body_in_any_pieces(server: ServerProcess, n_bytes: int) -> None:
    """As long as they come."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "echo 星 影"}]}, ensure_ascii=False)
    data = body.encode()
    with server.connect() as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(data), n_bytes):
            piece = data[start : start + n_bytes]
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        status, _, answer = read_answer(connection)
    assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "星 影")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come(start_server: StartServer, framing: str) -> None:
    """408 in time, and the connection ends: nobody knows where the next request would begin."""
    server = start_server(read_timeout=0.5)
    with server.connect() as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n".encode())
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_of(answer.partition(b"\r\n\r\n")[2]) == "request_timeout"


def test_a_connection_goes_on(server: ServerProcess) -> None:
    """After a stream, HEAD, OPTIONS, and errors of all kinds, also those whose body nobody reads."""
    unread = b"x" * 50_000
    requests: list[tuple[bytes, str, int]] = [
        (server.chat_request("echo hi", stream=True), "POST", 200),
        (server.chat_request("late engine_crashed", stream=True), "POST", 200),
        (server.chat_request("refuse context_length_exceeded", stream=True), "POST", 400),
        (server.chat_request("echo hi", model="nobody"), "POST", 404),
        (server.request("POST", CHAT, b"{"), "POST", 400),
        (server.request("POST", CHAT, unread, {"Content-Type": "text/xml"}), "POST", 415),
        (server.request("POST", CHAT, unread, {"Origin": "https://evil.example"}), "POST", 403),
        (server.request("POST", "/v1/nowhere", unread), "POST", 404),
        (server.request("DELETE", "/v1/models", unread), "DELETE", 405),
        (server.request("GET", "/health", unread), "GET", 200),
        (server.request("HEAD", "/v1/models"), "HEAD", 200),
        (server.request("HEAD", "/v1/nowhere"), "HEAD", 404),
        (server.request("OPTIONS", CHAT), "OPTIONS", 200),
        (server.chat_request("echo bye"), "POST", 200),
    ]
    with server.connect() as connection:
        for data, method, expected in requests:
            connection.sendall(data)
            status, headers, _ = read_answer(connection, method)
            assert (status, headers["connection"]) == (expected, "keep-alive"), data[:80]
    with server.connect() as connection:  # and all of them at once
        sender = threading.Thread(target=connection.sendall, args=(b"".join(data for data, *_ in requests),))
        sender.start()
        reader = KeptReader(connection)
        for data, method, expected in requests:
            response = HTTPResponse(reader, method=method)  # type: ignore[arg-type]
            response.begin()
            response.read()
            assert response.status == expected, data[:80]
        sender.join(10)


def test_a_page_elsewhere(server: ServerProcess) -> None:
    """What a browser does for it: preflight, request, stream; with the headers on the wire."""
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with server.connect() as connection:
        connection.sendall(server.request("OPTIONS", CHAT, headers=asked))
        status, headers, body = read_answer(connection, "OPTIONS")
        assert (status, body, headers["access-control-allow-origin"]) == (204, b"", PAGE)
        assert "content-length" not in headers, "RFC 9110, 8.6"
        request = server.chat_request("echo hi", stream=True)
        connection.sendall(request.replace(b"\r\n", b"\r\nOrigin: %b\r\n" % PAGE.encode(), 1))
        status, headers, body = read_answer(connection)
        assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
        assert headers["content-type"].startswith("text/event-stream")
        assert body.endswith(b"data: [DONE]\n\n")


def test_a_crowd_of_idle_connections_delays_nobody(start_server: StartServer) -> None:
    """500 that say nothing, or only half of a request; the keep-alive of those who said something is another matter."""
    server = start_server()
    before_s = median_s(server)
    crowd = [server.connect() for _ in range(N_IDLE)]
    try:
        for connection in crowd[::2]:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\n")
        crowded_s = median_s(server)
        with server.connect() as connection:
            connection.sendall(server.chat_request("count 5", stream=True))
            assert read_answer(connection)[2].endswith(b"data: [DONE]\n\n")
    finally:
        for connection in crowd:
            connection.close()
    alone_s = max(before_s, median_s(server))  # the machine may be busier than it was
    assert crowded_s < 10 * alone_s + 0.05, (alone_s, crowded_s)


def median_s(server: ServerProcess) -> float:
    """How long a new connection and a request on it take."""
    taken_s = []
    for _ in range(20):
        began = time.monotonic()
        asking = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        asking.request("GET", "/v1/models")
        assert asking.getresponse().read()
        asking.close()
        taken_s.append(time.monotonic() - began)
    return statistics.median(taken_s)
