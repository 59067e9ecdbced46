"""hoshikage rpc-worker as a person runs it."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from asking import environment, hoshikage
from rpc_workers import RpcWorker, free_port

from hoshikage_core import devices

HELLO = struct.pack("<BQ24s", 14, 24, b"")  # llama.cpp's
RPC_TENSOR_BYTES = 8 + 4 + 8 + 16 + 16 + 4 + 64 + 4 + 80 + 8 + 8 + 8 + 64 + 4  # llama.cpp's struct, packed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_what_it_offers_and_ends(tmp_path: Path, number: signal.Signals) -> None:
    """One line: what, how much, where, and how to use it. Nothing else is printed, by nobody."""
    with RpcWorker(tmp_path) as worker:
        assert re.search(r"\(.*\d+(\.\d+)? [MG]iB\)", worker.line)
        assert f"HOSHIKAGE_RPC_SERVERS={worker.server}" in worker.line
        worker.process.send_signal(number)
        assert worker.process.communicate(timeout=60) == ("", "")
        assert worker.process.returncode == 0


def test_ctrl_c_while_somebody_uses_it(tmp_path: Path) -> None:
    """Nobody is waited for."""
    with RpcWorker(tmp_path) as worker, socket.create_connection(("127.0.0.1", worker.port), timeout=60) as user:
        user.sendall(HELLO)
        assert user.recv(1)  # it is let in: a connection that still waits for that is reset
        worker.process.send_signal(signal.SIGINT)
        worker.process.wait(60)
        assert worker.process.returncode == 0
        while user.recv(64):
            pass


@pytest.mark.parametrize(("language", "words"), [("en", "no authentication"), ("ja", "認証")])
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_other_machines(tmp_path: Path, host: str, language: str, words: str) -> None:
    """Others are let in only by who says so: whoever connects may do anything."""
    port = str(free_port())
    told = hoshikage(tmp_path, "rpc-worker", "--host", host, "--port", port, HOSHIKAGE_LANG=language)
    assert (told.returncode, told.stdout) == (1, "")
    assert words in told.stderr
    assert "--i-trust-this-network" in told.stderr
    assert "SSH" in told.stderr


def test_who_says_so(tmp_path: Path) -> None:
    """It listens on all addresses, and tells nobody to use 0.0.0.0."""
    with RpcWorker(tmp_path, None, "--host", "0.0.0.0", "--i-trust-this-network") as worker:
        assert f"0.0.0.0:{worker.port}" in worker.line
        assert "SERVERS=0.0.0.0" not in worker.line


@pytest.mark.parametrize("host", ["::1", "no-such-host.invalid", ""])
def test_no_address(tmp_path: Path, host: str) -> None:
    told = hoshikage(tmp_path, "rpc-worker", "--host", host)
    assert told.returncode in (1, 2)
    assert len(told.stderr.splitlines()) <= 2


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        told = hoshikage(tmp_path, "rpc-worker", "--port", port)
    assert told.returncode == 1
    assert f"127.0.0.1:{port}" in told.stderr
    assert "--port" in told.stderr


def test_a_cache(tmp_path: Path) -> None:
    """Its folder is nobody else's."""
    with RpcWorker(tmp_path, None, "--cache"):
        assert (tmp_path / "cache" / "rpc").stat().st_mode & 0o777 == 0o700


def test_no_place_for_a_cache(tmp_path: Path) -> None:
    """The folder is told, and what to do."""
    (tmp_path / "cache").write_bytes(b"")
    # The default port is one that any connection of another test may have got.
    command = ("rpc-worker", "--port", str(free_port()), "--cache")
    told = hoshikage(tmp_path, *command, HOSHIKAGE_CACHE_DIR=str(tmp_path / "cache"))
    assert (told.returncode, told.stdout) == (1, "")
    assert str(tmp_path / "cache" / "rpc") in told.stderr
    assert "--cache" in told.stderr


@pytest.mark.skipif(bool(devices.gpu_memory()), reason="there is a GPU")
@pytest.mark.parametrize("is_required", [False, True])
def test_a_gpu_that_is_not_used(tmp_path: Path, is_required: bool) -> None:
    """Who has one is told what helps, and offers the CPU; who requires one does not start."""
    program = """if True:
        from hoshikage_core import rpc
        from hoshikage_server.__main__ import main
        from hoshikage_server.engines import no_gpu
        found = no_gpu.Surroundings(False, True, True, False, False, False)
        no_gpu.look = lambda: found
        rpc.serve = lambda *args, **more: None
        main()
    """
    command = [sys.executable, "-c", program, "rpc-worker", "--port", str(free_port())]
    environ = environment(tmp_path, HOSHIKAGE_REQUIRE_GPU=str(int(is_required)))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert "HOSHIKAGE_BACKEND=cuda make build" in done.stderr
    assert done.returncode == int(is_required)
    assert ("Offering" in done.stdout) is not is_required
    assert ("HOSHIKAGE_REQUIRE_GPU" in done.stderr) is is_required


def test_a_tensor_that_was_kept_in_part(tmp_path: Path) -> None:
    """As a full disk leaves one: it has to be sent again, and is not taken for the whole."""
    whole, part = b"lighthouse", b"harbour"
    hashes = [fnv_1a(whole), fnv_1a(b"harbours")]
    folder = tmp_path / "cache" / "rpc"
    folder.mkdir(parents=True)
    for number, kept in zip(hashes, (whole, part), strict=True):
        (folder / f"{number:016x}").write_bytes(kept)
    with RpcWorker(tmp_path, None, "--cache") as worker:
        assert knows(worker, hashes[0])
        assert not knows(worker, hashes[1])
    assert [file.name for file in folder.iterdir()] == [f"{hashes[0]:016x}"]


def fnv_1a(data: bytes) -> int:
    number = 0xCBF29CE484222325
    for byte in data:
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return number


def knows(worker: RpcWorker, number: int) -> bool:
    """Whether it has a tensor: then it looks where to put it, finds that this is nowhere, and hangs up."""
    request = bytes(RPC_TENSOR_BYTES) + struct.pack("<QQ", 0, number)
    with socket.create_connection(("127.0.0.1", worker.port), timeout=60) as user, user.makefile("rb") as answers:
        user.sendall(HELLO)
        assert len(answers.read(36)) == 36
        user.sendall(struct.pack("<BQ", 7, len(request)) + request)  # RPC_CMD_SET_TENSOR_HASH
        answer = answers.read(9)
        assert answer in (b"", struct.pack("<QB", 1, 0))
        return not answer


def test_nonsense(tmp_path: Path) -> None:
    """Who does not speak the protocol is sent away, and the next one is let in."""
    with RpcWorker(tmp_path) as worker:
        with socket.create_connection(("127.0.0.1", worker.port)):
            pass
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x0e" + b"\xff" * 40):
            with socket.create_connection(("127.0.0.1", worker.port)) as stranger:
                stranger.sendall(words)
                stranger.settimeout(60)
                with contextlib.suppress(ConnectionResetError):  # it has not read all of it
                    assert stranger.recv(1) == b""
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
