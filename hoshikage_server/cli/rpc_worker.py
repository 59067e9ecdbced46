"""hoshikage rpc-worker: lets this machine compute parts of models that run on others.

llama.cpp's server comes back from its work only by failing, and ends its process where a client confuses it. So it has
this process to itself: it runs in a thread, while the main thread waits for the signal that ends both.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hoshikage_server import dumps
from hoshikage_server.cli.serve import check_address
from hoshikage_server.cli.words import Name, command, option, say, warn_on_cpu
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import Size, told_by_system
from hoshikage_server.settings import THREADS_MAX, cli_language, is_loopback, load_settings

if TYPE_CHECKING:
    from hoshikage_core.rpc import OfferedDevice

_ENDINGS = (signal.SIGINT, signal.SIGTERM)


@command("rpc-worker", "cli_rpc_worker")
@option("--host", type=Name(), default="127.0.0.1", metavar="ADDRESS", words="cli_rpc_host")
@option("--port", type=click.IntRange(1, 65535), default=50052, metavar="N", words="cli_rpc_port")
@option("--threads", type=click.IntRange(1, THREADS_MAX), metavar="N", words="cli_rpc_threads")
@option("--cache/--no-cache", "caches", default=False, words="cli_rpc_cache")
@option("--i-trust-this-network", "trusts", is_flag=True, words="cli_rpc_trust")
def rpc_worker(host: str, port: int, threads: int | None, caches: bool, trusts: bool) -> None:
    """Offers this machine's devices until it is told to end."""
    address = _ipv4(host)
    if not trusts and not is_loopback(address):
        raise ServerError("rpc_exposed", host=host)
    check_address(address, port)
    settings = load_settings()
    cache_dir = _made(settings.cache_dir / "rpc") if caches else None
    dumps.leave_none()
    _serve(address, port, threads or settings.threads, cache_dir, settings.require_gpu)


def _ipv4(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        raise ServerError("rpc_no_ipv4", host=host) from None


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # llama.cpp goes on without a word when it cannot write
    except OSError as error:
        raise ServerError("rpc_no_cache", folder=folder, reason=told_by_system(error)) from None
    return folder


def _serve(address: str, port: int, n_threads: int | None, cache_dir: Path | None, requires_gpu: bool) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)  # for all threads to come: they wait for sigwait
    from hoshikage_core import HoshikageError, rpc

    failures: list[HoshikageError] = []

    def work() -> None:
        try:
            rpc.serve(address, port, n_threads=n_threads, cache_dir=cache_dir)
        except HoshikageError as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    _say_why_no_gpu(requires_gpu)
    devices = say("comma").join(map(_described, rpc.offered_devices()))
    usable = f"{say('rpc_this_machine') if address == '0.0.0.0' else address}:{port}"
    click.echo(say("rpc_offers", devices=devices, address=f"{address}:{port}", usable=usable))
    sys.stdout.flush()
    _silence_stdout()
    threading.Thread(target=work, name="hoshikage-rpc", daemon=True).start()
    signal.sigwait(_ENDINGS)
    if failures:
        raise ServerError("rpc_worker_failed", reason=failures[0])
    os._exit(0)  # at once: what llama.cpp needs must not be taken apart under it


def _say_why_no_gpu(is_required: bool) -> None:
    """Whoever has a GPU, or requires one, does not offer the CPU unawares."""
    from hoshikage_core.devices import gpu_memory
    from hoshikage_server.engines.no_gpu import why_none

    reason = None if gpu_memory() else why_none(is_required)
    if reason is not None and is_required:
        raise ServerError("rpc_gpu_required", reason=reason)
    warn_on_cpu(None if reason is None else reason.text(cli_language()))


def _described(device: OfferedDevice) -> str:
    total = Size(device.total_bytes)
    is_known = device.free_bytes != device.total_bytes  # of the CPU, llama.cpp calls everything free
    memory = say("rpc_free", free=Size(device.free_bytes), total=total) if is_known else total
    return say("rpc_device", name=device.name, description=device.description, memory=memory)


def _silence_stdout() -> None:
    """Keeps what llama.cpp's server prints from the terminal; its warnings go to stderr."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
