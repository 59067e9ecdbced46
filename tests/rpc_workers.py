"""Real workers: `hoshikage rpc-worker` in processes of their own, on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

READY_S = 60.0


def free_port() -> int:
    """One for somebody who will listen later: none of those that the kernel gives to whoever connects meanwhile."""
    n_first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, n_first_of_kernel)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RpcWorker:
    """A worker that listens; a context manager that ends it.

    Args:
        port: Where; None: on one that is free.
    """

    def __init__(self, folder: Path, port: int | None = None, *arguments: str) -> None:
        self.port = free_port() if port is None else port
        self.server = f"127.0.0.1:{self.port}"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
        environ |= {
            "HOSHIKAGE_CONFIG_DIR": str(folder),
            "HOSHIKAGE_CACHE_DIR": str(folder / "cache"),
            "HOSHIKAGE_LANG": "en",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        command = [sys.executable, "-m", "hoshikage_server", "rpc-worker", "--port", str(self.port), "--threads", "1"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*command, *arguments], env=environ, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], READY_S)[0]:
            self.kill()
            raise AssertionError(f"silent for {READY_S} s")
        self.line = self.process.stdout.readline()
        assert self.line, self.process.communicate()[1]
        self._wait_until_it_listens()

    def kill(self) -> None:
        """Ends it as if its machine were gone; its connections are closed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def __enter__(self) -> RpcWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_until_it_listens(self) -> None:
        """It says its line just before; who asks it is let in as soon as it does."""
        from hoshikage_core.rpc import require_servers

        require_servers([self.server], limit_s=READY_S)


class Tunnel:
    """A port that leads to a worker's, as `ssh -L` makes one; a context manager that ends it.

    Attributes:
        to: The worker's port, for whoever connects next.
    """

    def __init__(self, to: int) -> None:
        self.to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    worker = socket.create_connection(("127.0.0.1", self.to))
                except OSError:
                    client.close()
                    continue
                for end in (client, worker):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each small message waits 40 ms
                for ends in ((client, worker), (worker, client)):
                    threading.Thread(target=_carry, args=ends, daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """All that comes, and the end of it."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
