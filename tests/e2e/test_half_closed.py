"""Clients that shut down their sending side and wait for the answer, over TCP and over a Unix socket."""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import FAKE_MODELS, FAKES, TIMEOUT_S, ServerProcess, holds, read_all, read_until, wait_for

LOOKS_AGAIN_S = 0.6  # the watch has looked again after so long
Connect = Callable[[], socket.socket]


def start(folder: Path, app: str = "app") -> ServerProcess:
    """A server that listens on both."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:hoshikage_server.gunicorn_conf"]
    command += ["-b", "127.0.0.1:0", "-b", f"unix:{folder}/socket", "--pythonpath", str(FAKES), f"fake_wsgi:{app}"]
    return ServerProcess(folder, FAKE_MODELS, command=command)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start(tmp_path_factory.mktemp("half-closed")) as started:
        yield started


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that never looks whether a client is still there, and relies on what the kernel tells."""
    with start(tmp_path_factory.mktemp("trusting"), "trusting_app()") as started:
        yield started


@pytest.fixture(params=["tcp", "unix"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(kind: str, server: ServerProcess) -> Connect:
    return functools.partial(connect_to, server, kind)


def connect_to(server: ServerProcess, kind: str) -> socket.socket:
    if kind == "tcp":
        return server.connect()
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    connection.connect(str(server.log_path.parent / "socket"))
    return connection


def queue(server: ServerProcess) -> tuple[int, int]:
    status = server.status["queue"]
    return status["running"], status["waiting"]


@pytest.mark.parametrize("stream", [True, False])
def test_half_closed_in_the_queue(server: ServerProcess, connect: Connect, stream: bool) -> None:
    """It keeps its place, and the whole answer arrives."""
    with connect() as blocker, connect() as client:
        blocker.sendall(server.chat_request("hang"))
        wait_for(lambda: queue(server) == (1, 0), 5, "the blocker runs")
        client.sendall(server.chat_request("count 12 50", stream=stream))
        client.shutdown(socket.SHUT_WR)
        wait_for(lambda: queue(server) == (1, 1), 5, "the client waits")
        holds(lambda: queue(server) == (1, 1), LOOKS_AGAIN_S, "the client waits")
        blocker.close()
        answer = read_all(client)
    assert (b"[DONE]" in answer and b'"12 "' in answer) if stream else b"10 11 12 " in answer


def test_half_closed_in_the_middle_of_an_answer(server: ServerProcess, connect: Connect) -> None:
    """The rest arrives."""
    with connect() as client:
        client.sendall(server.chat_request("count 12 100", stream=True))
        seen = read_until(client, b'"2 "')
        client.shutdown(socket.SHUT_WR)
        seen += read_all(client)
    assert b'"12 "' in seen
    assert b"[DONE]" in seen


def test_half_closed_while_the_model_is_loaded(server: ServerProcess, connect: Connect) -> None:
    """Loading takes a second, in which nothing is written."""
    with connect() as client:
        client.sendall(server.chat_request("echo hello", model="m"))
        read_until(client, b"hello")
    with connect() as client:
        client.sendall(server.chat_request("echo here", model="slow"))
        client.shutdown(socket.SHUT_WR)
        assert b"here" in read_all(client)


@pytest.mark.parametrize("stream", [True, False])
def test_half_closed_and_then_gone(server: ServerProcess, connect: Connect, stream: bool) -> None:
    """The close that follows, without a byte that tells of it, frees the lane."""
    client = connect()
    client.sendall(server.chat_request("hang", stream=stream))
    client.shutdown(socket.SHUT_WR)
    wait_for(lambda: queue(server) == (1, 0), 5, "it runs")
    holds(lambda: queue(server) == (1, 0), LOOKS_AGAIN_S, "it runs")
    client.close()
    wait_for(lambda: queue(server) == (0, 0), 1, "the lane is free")


def test_a_close_frees_the_lane_at_once(trusting: ServerProcess, kind: str) -> None:
    """Not when the watch looks again: here it never does."""
    client = connect_to(trusting, kind)
    client.sendall(trusting.chat_request("hang"))
    wait_for(lambda: queue(trusting) == (1, 0), 5, "it runs")
    client.close()
    wait_for(lambda: queue(trusting) == (0, 0), 5, "the lane is free")
