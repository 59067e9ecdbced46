"""The watch on a client's connection, with real sockets and a real kernel."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import gevent.socket
import greenlet
import pytest

from hoshikage_server.api import client as client_module
from hoshikage_server.api import peer
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.errors import ClientGoneError

LONG_S = 20

Connect = Callable[[], tuple[socket.socket, socket.socket]]


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


FAMILIES = ["unix", "tcp4", *(["tcp6", "tcp4-in-6"] if has_ipv6() else [])]


def listen(family: str, folder: Path) -> socket.socket:
    if family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "s"))
        listener.listen()
        return listener
    if family == "tcp4":
        return socket.create_server(("127.0.0.1", 0))
    if family == "tcp6":
        return socket.create_server(("::1", 0), family=socket.AF_INET6)
    return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Makes connections: the server's end (as gunicorn would have it) and the client's."""
    ends: list[socket.socket] = []
    with listen(request.param, tmp_path) as listener:
        address = listener.getsockname()
        if request.param == "tcp4-in-6":
            address = ("127.0.0.1", address[1])

        def connect() -> tuple[socket.socket, socket.socket]:
            client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            if len(address) == 4:
                client = socket.socket(socket.AF_INET6)
            client.connect(address)
            accepted, _ = listener.accept()
            server = gevent.socket.socket(accepted.family, accepted.type, fileno=accepted.detach())
            ends.extend((client, server))
            return server, client

        yield connect
    for end in ends:
        end.close()


def is_thrown(server: socket.socket, within_s: float, then: Callable[[], object] = lambda: None) -> bool:
    """Whether a watch that begins now throws in time."""
    with ClientWatch({"gunicorn.socket": server}):
        gevent.get_hub().loop.run_callback(then)
        try:
            gevent.sleep(within_s)
        except ClientGoneError:
            return True
    return False


def test_a_client_that_only_waits_is_there(pair: Connect) -> None:
    """Whether it has sent everything, or something nobody has read yet."""
    server, client = pair()
    assert not is_thrown(server, 0.1)
    client.sendall(b"next request")
    assert not is_thrown(server, 0.6)


def test_a_close_is_noticed_at_once(pair: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the watch begins and while it watches, without its looking again and again."""
    monkeypatch.setattr(client_module, "_POLL_S", 1000.0)
    server, client = pair()
    client.close()
    assert is_thrown(server, LONG_S)
    server, client = pair()
    assert is_thrown(server, LONG_S, client.close)


def test_a_close_behind_bytes_that_nobody_has_read_is_noticed(pair: Connect) -> None:
    """No byte arrives that would tell of it."""
    server, client = pair()
    client.sendall(b"next request")
    assert is_thrown(server, LONG_S, client.close)


def test_a_client_that_still_reads_is_there(pair: Connect) -> None:
    """An end of file is no disconnect, and what is sent arrives."""
    server, client = pair()
    assert not is_thrown(server, 0.6, lambda: client.shutdown(socket.SHUT_WR))
    assert not is_thrown(server, 0.6)
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


def test_a_close_after_a_half_close_is_noticed(pair: Connect) -> None:
    """No byte arrives that would tell of it."""
    server, client = pair()
    client.shutdown(socket.SHUT_WR)
    assert is_thrown(server, LONG_S, client.close)


def test_a_client_killed_after_a_half_close_is_noticed(pair: Connect) -> None:
    """The kernel closes for it."""
    server, client = pair()
    client.shutdown(socket.SHUT_WR)
    program = "import sys, time; print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, pass_fds=[client.fileno()], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        client.close()
        try:
            assert not is_thrown(server, 0.6), "another process still has it"
            assert is_thrown(server, LONG_S, process.kill)
        finally:
            process.kill()


def test_a_client_elsewhere_that_sends_no_more_counts_as_gone() -> None:
    """192.0.2.0/24 belongs to nobody (RFC 5737): the kernel has no such socket, as with any client elsewhere."""

    class Elsewhere:
        family = socket.AF_INET

        def getpeername(self) -> tuple[str, int]:
            return "192.0.2.1", 50000

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", 3030

    assert not peer.is_open(Elsewhere())  # type: ignore[arg-type]


def test_looking_never_switches_greenlets(pair: Connect) -> None:
    """Cleaning up looks too, and must not be interrupted half-way."""
    server, client = pair()
    client.shutdown(socket.SHUT_WR)
    select.select([server], [], [], 5)
    watch = ClientWatch({"gunicorn.socket": server})
    switches: list[object] = []
    greenlet.settrace(lambda *what: switches.append(what))
    try:
        assert not watch.is_gone
        watch.stop()
    finally:
        greenlet.settrace(None)
    assert switches == []


def test_looking_is_cheap_in_a_crowd(pair: Connect) -> None:
    """What it costs does not grow with the connections of the machine: many may be half-closed, and are polled."""
    crowd = [pair() for _ in range(100)]
    server, client = crowd[50]
    client.shutdown(socket.SHUT_WR)
    watch = ClientWatch({"gunicorn.socket": server})
    took_s = []
    for _ in range(10):
        began = time.thread_time()
        for _ in range(20):
            assert not watch.is_gone
        took_s.append((time.thread_time() - began) / 20)
    assert min(took_s) < 0.001, "/proc/net/tcp takes five times as long"
    watch.stop()
