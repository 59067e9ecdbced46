"""Models spread over machines, through llama.cpp's RPC: a worker offers what computes on its machine.

from hoshikage_core import rpc

rpc.serve("127.0.0.1", 50052)  # on one machine; on another: Devices(rpc_servers=("127.0.0.1:50052",))

llama.cpp ends the process that uses a server when the server cannot be reached or breaks off. So servers are looked at
before it is told of them; what happens later ends the process all the same.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core.errors import Reason, RpcServerError

_ANSWER_S = 5.0  # enough for a worker that was just started again
_AGAIN_S = 0.2
# llama.cpp's handshake: a command, the size of what follows, and what the transport could do besides TCP (nothing).
_HELLO = struct.Struct("<BQ24s")
_HELLO_COMMAND = 14
_ANSWER = struct.Struct("<QBBBx24s")

# A server lets one process in at a time: while a model of ours is on it, it would not answer us again.
_ours: weakref.WeakKeyDictionary[Handle, tuple[str, ...]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class OfferedDevice:
    """What a worker on this machine lets others use.

    Attributes:
        name: llama.cpp's name, such as "CUDA0" or "CPU".
        description: What it is.
        free_bytes: Its free memory; for the CPU llama.cpp says all of it.
        total_bytes: Its memory.
    """

    name: str
    description: str
    free_bytes: int
    total_bytes: int


def offered_devices() -> tuple[OfferedDevice, ...]:
    """What ``serve`` would offer: the GPUs, or else the CPU; asking wakes GPUs up."""
    return tuple(OfferedDevice(**device) for device in json.loads(call_text(lib.hsk_rpc_offer_get)))


def serve(
    host: str, port: int, *, n_threads: int | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> None:
    """Lets other machines compute here, one at a time; returns only by an error.

    There is no authentication: whoever reaches the port can read and write this process's memory, and so do anything
    that it may do. It takes over the process: llama.cpp prints to stdout, and its warnings go to stderr.

    Args:
        host: The IPv4 address to listen on.
        port: The port.
        n_threads: Threads for the CPU; None takes the physical cores this process may use.
        cache_dir: A folder where large tensors are kept, so that a model that comes again is not sent again.

    Raises:
        InvalidArgumentError: A value is out of range.
        NativeError: It cannot listen there.
    """
    _checks.integer("port", port, 1, 65535)
    n_threads = _checks.threads("n_threads", n_threads or lib.hsk_thread_count_default())
    folder = ffi.NULL if cache_dir is None else ffi.new("char[]", os.fsencode(cache_dir))
    call(lib.hsk_rpc_serve, f"{host}:{port}".encode(), folder, n_threads)


def require_servers(servers: Iterable[str], limit_s: float = _ANSWER_S) -> None:
    """Raises an error unless all of these servers answer, speak our version, and serve nobody else.

    Args:
        servers: Each as "host:port".
        limit_s: How long one may take; one that is not there is tried again until then, as it may be starting.

    Raises:
        RpcServerError: The first one that does not.
    """
    in_use = {server for model, taken in list(_ours.items()) if not model.closed for server in taken}
    met: dict[tuple[str, int], str] = {}
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            address = _address(host, int(port))
            other = met.setdefault(address, server)
            if other != server:  # it would wait for itself
                raise _NoServerError(Reason("rpc_twice", "it is the same as {other}: name it once", other=other))
            if server not in in_use:
                _require_answer(address, limit_s)
        except _NoServerError as error:
            raise RpcServerError(server, error.reason) from None


def note_use(model: Handle, servers: tuple[str, ...]) -> None:
    """Notes that a loaded model is on servers, which do not answer anybody else until it is closed."""
    _ours[model] = servers


class _NoServerError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def _require_answer(address: tuple[str, int], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            _greet(address, deadline, limit_s)
            return
        except _NoServerError as error:
            may_be_starting = error.reason.key in ("rpc_refused", "rpc_foreign")  # the latter behind a tunnel
            if not may_be_starting or time.monotonic() + _AGAIN_S >= deadline:
                raise
        time.sleep(_AGAIN_S)


def _address(host: str, port: int) -> tuple[str, int]:
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    except (OSError, UnicodeError):
        raise _NoServerError(Reason("rpc_unknown_host", "no IPv4 address of that name is known")) from None
    return str(found[0]), port


def _greet(address: tuple[str, int], deadline: float, limit_s: float) -> None:
    try:
        connection = socket.create_connection(address, timeout=_left_s(deadline))
    except ConnectionRefusedError:
        text = "nothing listens there: start 'hoshikage rpc-worker --port {port}' on that machine"
        raise _NoServerError(Reason("rpc_refused", text, port=address[1])) from None
    except TimeoutError:
        text = "no connection came about: check the address, and whether a firewall lets port {port} through"
        raise _NoServerError(Reason("rpc_unreached", text, port=address[1])) from None
    except OSError as error:
        words = error.strerror or str(error)
        raise _NoServerError(Reason("os_error", "{words}", errno=error.errno or 0, words=words)) from None
    with connection:
        _require_version(_hello(connection, deadline, limit_s))


def _hello(connection: socket.socket, deadline: float, limit_s: float) -> bytes:
    """What it answers; empty where that is none."""
    answer = b""
    try:
        connection.sendall(_HELLO.pack(_HELLO_COMMAND, 24, b""))
        while len(answer) < _ANSWER.size:
            connection.settimeout(_left_s(deadline))
            piece = connection.recv(_ANSWER.size - len(answer))
            if not piece:
                return b""
            answer += piece
    except TimeoutError:
        text = (
            "it does not answer within {seconds} s: a worker serves one model at a time, and this one may be in use; "
            "or it hangs, and has to be started again"
        )
        raise _NoServerError(Reason("rpc_silent", text, seconds=f"{limit_s:g}")) from None
    except OSError:
        return b""
    return answer


def _require_version(answer: bytes) -> None:
    n_bytes, major, minor, _, _ = _ANSWER.unpack(answer) if answer else (0, 0, 0, 0, b"")
    if n_bytes != _ANSWER.size - 8:
        text = (
            "what answers there is no RPC worker, or one of another version, or a tunnel with no worker at its end: "
            "start 'hoshikage rpc-worker', of the same version, on that machine"
        )
        raise _NoServerError(Reason("rpc_foreign", text))
    ours = divmod(lib.hsk_rpc_version(), 256)
    if major != ours[0] or minor > ours[1]:  # what llama.cpp does not go on with
        text = "it speaks version {theirs} of llama.cpp's protocol, and this one {ours}: use the same version on both"
        raise _NoServerError(Reason("rpc_version", text, theirs=f"{major}.{minor}", ours=f"{ours[0]}.{ours[1]}"))


def _left_s(deadline: float) -> float:
    return max(deadline - time.monotonic(), _AGAIN_S)
