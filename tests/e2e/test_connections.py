"""Connections that end, and requests that are none: what the client and the log get to see."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from server_process import ServerProcess, read_all, read_until, wait_for

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
    for _ in range(3):
        with fake_server.connect() as connection:
            connection.sendall(closing_chat(fake_server, "count 3 20", version, stream=stream))
            assert last in read_until(connection, last)
            began = time.monotonic()
            read_all(connection)
            assert time.monotonic() - began < 0.15


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_released_by_a_timer_closes_cleanly(start_server: StartServer, stream: bool) -> None:
    """queue_timeout and engine_stalled on a connection that closes: nothing is left watching the closed socket."""
    server = start_server(queue_timeout=0.3, stall_timeout=1)
    with server.connect() as silent, server.connect() as waiting:
        silent.sendall(closing_chat(server, "mute", stream=stream))
        wait_for(lambda: server.status["queue"]["running"] == 1, 5, "one runs")
        waiting.sendall(closing_chat(server, "echo x", stream=stream))
        assert b"queue_timeout" in read_all(waiting)
        assert b"engine_stalled" in read_all(silent)
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
    wait_for(lambda: "client disconnected" in server.log, 2, "it is logged")
    assert server.log.count("client disconnected") == 1
